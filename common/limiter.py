"""Rate limits: GCRA in one Lua script on Redis time, exact under concurrency, with local buckets when Redis is away.

A bucket of `burst` requests refills evenly at `limit` per `period_seconds`. A request that falls under several limits
takes one from each of their buckets or, where one is empty, from none. While Redis does not answer, each process allows
its share (`limit` / expected processes) by itself: never open, never all denied.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from typing import Any, NamedTuple

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 0.2
BREAK_SECONDS = 1.0  # how long local buckets serve before Redis is asked again
MAX_LOCAL_BUCKETS = 50_000

# For each key: ARGV holds microseconds per request and the burst; behind those of all keys, 1 for the last of a group.
# The stored value is the theoretical arrival time, kept within one full bucket of now, so that neither a clock set back
# nor a lowered limit locks anyone out for longer. On Redis Cluster the keys of one call must share a slot.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer, dues, first, fits = {}, {}, 1, true
for i, key in ipairs(KEYS) do
  local step = tonumber(ARGV[2 * i - 1])
  local room = step * tonumber(ARGV[2 * i])
  local due = tonumber(redis.call('GET', key) or 0)
  due = math.min(math.max(due, now), now + room)
  local allowed = due + step - now <= room
  answer[2 * i - 1] = allowed and 1 or 0
  dues[i] = due
  fits = fits and allowed
  if ARGV[2 * #KEYS + i] == '1' then
    for j = first, i do
      if fits then
        dues[j] = dues[j] + ARGV[2 * j - 1]
        redis.call('SET', KEYS[j], string.format('%.0f', dues[j]), 'PX', math.ceil((dues[j] - now) / 1000) + 1000)
      end
      answer[2 * j] = dues[j] - now
    end
    first, fits = i + 1, true
  end
end
return answer
"""
# Undoes one taking: KEYS[1], and microseconds per request.
RETURN_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = tonumber(redis.call('GET', KEYS[1]) or 0) - ARGV[1]
if due > now then
  redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1000)
else
  redis.call('DEL', KEYS[1])
end
"""
_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket to take a request from. `burst` (default: `limit`) is how many may come at once."""

    key: str
    limit: int
    period_seconds: int = 60
    burst: int | None = None
    name: str = "requests"
    size: int = field(init=False, repr=False)
    step_us: int = field(init=False, repr=False)
    """Microseconds in which one request is refilled, rounded up: never more than the limit."""

    def __post_init__(self) -> None:  # once for each bucket; they are asked for at each call
        set_field = object.__setattr__
        set_field(self, "size", max(1, self.limit if self.burst is None else self.burst))
        set_field(self, "step_us", -(-self.period_seconds * 1_000_000 // max(1, self.limit)))


class Decision(NamedTuple):
    """What the bucket said. Seconds are rounded up, so waiting that long suffices."""

    name: str
    allowed: bool
    limit: int
    period_seconds: int
    remaining: int
    reset_seconds: int  # until the bucket is full again
    retry_after_seconds: int  # until the next request fits; 0 when one fits now
    retry_after_ms: int = 0

    def headers(self) -> dict[str, str]:
        return headers_of([self])


def headers_of(decisions: Sequence[Decision]) -> dict[str, str]:
    """IETF `RateLimit` fields, which list every limit, the tightest first; of that one OpenAI's `x-ratelimit-*` and,
    on a refusal, `Retry-After` in both units."""
    ordered = sorted(decisions, key=_tightness)
    tightest = ordered[0]
    fields = {
        "RateLimit-Policy": ", ".join(f'"{one.name}";q={one.limit};w={one.period_seconds}' for one in ordered),
        "RateLimit": ", ".join(f'"{one.name}";r={one.remaining};t={one.reset_seconds}' for one in ordered),
        "x-ratelimit-limit-requests": str(tightest.limit),
        "x-ratelimit-remaining-requests": str(tightest.remaining),
        "x-ratelimit-reset-requests": f"{tightest.reset_seconds}s",
    }
    if not tightest.allowed:
        fields["Retry-After"] = str(tightest.retry_after_seconds)
        fields["retry-after-ms"] = str(tightest.retry_after_ms or tightest.retry_after_seconds * 1000)
    return fields


def tightest_of(decisions: Sequence[Decision]) -> Decision:
    """The limit that a caller meets first: of refusals the longest, else the one with the fewest requests left."""
    return min(decisions, key=_tightness)


def _tightness(decision: Decision) -> tuple[int, int]:
    return -decision.retry_after_seconds, decision.remaining


class Limiter:
    """The synchronous front, for pages and the REST API. Safe to share between threads."""

    def __init__(self, redis_url: str, *, processes: int = 1) -> None:
        self._redis = redis.Redis.from_url(redis_url, **_connection_options(redis.retry.Retry(NoBackoff(), 0)))
        self._fallback = _Fallback(processes)

    def check(self, bucket: Bucket) -> Decision:
        """Take one request from the bucket if there is one."""
        return self.check_all([bucket])[0]

    def check_all(self, buckets: Sequence[Bucket]) -> list[Decision]:
        """Take one request from each bucket if all of them have one, else from none."""
        if self._fallback.is_open():
            return self._fallback.decide([buckets])[0]
        keys_and_arguments = _pack([buckets])
        try:
            try:
                reply = self._redis.evalsha(_SHA, len(buckets), *keys_and_arguments)
            except NoScriptError:
                reply = self._redis.eval(SCRIPT, len(buckets), *keys_and_arguments)
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.decide([buckets])[0]
        return _decide([buckets], reply)[0]

    def look_at_all(self, buckets: Sequence[Bucket]) -> list[Decision]:
        """What each bucket would say, and nothing is taken."""
        if not buckets:
            return []
        if self._fallback.is_open():
            return self._fallback.look(buckets)
        try:
            with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.time()
                pipeline.mget(["limit:" + bucket.key for bucket in buckets])
                (seconds, microseconds), dues = pipeline.execute()
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.look(buckets)
        now = seconds * 1_000_000 + microseconds
        return [_seen(bucket, int(due or 0), now) for bucket, due in zip(buckets, dues, strict=True)]

    def give_back(self, bucket: Bucket) -> None:
        """Undo one taking from the bucket: what was counted did not count after all."""
        if self._fallback.is_open():
            self._fallback.give_back(bucket)
            return
        try:
            self._redis.eval(RETURN_SCRIPT, 1, "limit:" + bucket.key, bucket.step_us)
        except (RedisError, OSError) as error:
            self._fallback.open(error)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class AsyncLimiter:
    """The asynchronous front, for the gateway. Reconnects by itself; one per event loop."""

    def __init__(self, redis_url: str, *, processes: int = 1) -> None:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        self._redis = redis.asyncio.Redis.from_url(redis_url, **_connection_options(retry))
        self._fallback = _Fallback(processes)

    async def check_many(self, groups: Sequence[Sequence[Bucket]]) -> list[list[Decision]]:
        """Each group takes one request from each of its buckets or, where one is empty, from none; in order, in one
        round trip. Made to be the `send` of a batcher."""
        if not groups:
            return []
        if self._fallback.is_open():
            return self._fallback.decide(groups)
        keys_and_arguments = _pack(groups)
        count = len(keys_and_arguments) // ARGUMENTS_PER_KEY
        try:
            try:
                reply = await self._redis.evalsha(_SHA, count, *keys_and_arguments)
            except NoScriptError:
                reply = await self._redis.eval(SCRIPT, count, *keys_and_arguments)
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.decide(groups)
        return _decide(groups, reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def check(
    key: str, limit: int, period_seconds: int = 60, burst: int | None = None, *, name: str = "requests"
) -> Decision:
    """Take one request from the bucket `key` of this process' `Limiter` (`REDIS_URL`)."""
    return _limiter().check(Bucket(key, limit, period_seconds, burst, name))


def check_all(buckets: Sequence[Bucket]) -> list[Decision]:
    """Take one request from each bucket if all of them have one, else from none."""
    return _limiter().check_all(buckets)


def look_at_all(buckets: Sequence[Bucket]) -> list[Decision]:
    """What each bucket would say, and nothing is taken."""
    return _limiter().look_at_all(buckets)


def give_back(bucket: Bucket) -> None:
    """Undo one taking from the bucket."""
    _limiter().give_back(bucket)


@cache
def _limiter() -> Limiter:
    return Limiter(settings.REDIS_URL, processes=settings.LIMITER_PROCESSES)


def _connection_options(retry: Any) -> dict[str, Any]:
    return {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        "retry": retry,
        "driver_info": None,
        "protocol": 2,  # with this and no driver info, connecting needs no extra round trips
    }


ARGUMENTS_PER_KEY = 4  # the key itself, microseconds per request, burst, whether its group ends


def _pack(groups: Sequence[Sequence[Bucket]]) -> list[str | int]:
    keys: list[str | int] = []
    rates: list[int] = []
    ends: list[int] = []
    for group in groups:
        for bucket in group:
            keys.append("limit:" + bucket.key)
            rates += (bucket.step_us, bucket.size)
            ends.append(0)
        ends[-1] = 1
    return keys + rates + ends


def _decide(groups: Sequence[Sequence[Bucket]], reply: Sequence[int]) -> list[list[Decision]]:
    answers = iter(reply)
    return [[_decision(bucket, bucket.size, next(answers) == 1, next(answers)) for bucket in group] for group in groups]


def _decision(bucket: Bucket, size: int, allowed: bool, backlog_us: int, step_us: int | None = None) -> Decision:
    """backlog_us: how far the theoretical arrival time lies ahead."""
    step = step_us or bucket.step_us
    free_us = size * step - backlog_us
    wait_us = step - free_us if free_us < step else 0
    return Decision(
        bucket.name,
        allowed,
        bucket.limit,
        bucket.period_seconds,
        free_us // step if free_us > 0 else 0,
        -(-backlog_us // 1_000_000),
        -(-wait_us // 1_000_000),
        -(-wait_us // 1_000),
    )


def _seen(bucket: Bucket, due: int, now: int) -> Decision:
    """The script's arithmetic, for a bucket that nothing is taken from. due: its theoretical arrival time."""
    room = bucket.step_us * bucket.size
    backlog = min(max(due, now), now + room) - now
    return _decision(bucket, bucket.size, backlog + bucket.step_us <= room, backlog)


class _Fallback:
    """The circuit breaker and the local buckets behind it: the same arithmetic on this process' share of each limit."""

    def __init__(self, processes: int) -> None:
        self._processes = max(1, processes)
        self._due: dict[str, int] = {}  # key -> theoretical arrival time in microseconds; least recently used first
        self._open_until = 0.0
        self._lock = threading.Lock()

    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def open(self, error: BaseException) -> None:
        self._open_until = time.monotonic() + BREAK_SECONDS
        logger.warning("Redis does not answer (%s); rate limits are local for a moment", type(error).__name__)

    def decide(self, groups: Sequence[Sequence[Bucket]]) -> list[list[Decision]]:
        now = time.monotonic_ns() // 1000
        with self._lock:
            return [self._take(group, now) for group in groups]

    def look(self, buckets: Sequence[Bucket]) -> list[Decision]:
        now = time.monotonic_ns() // 1000
        decisions = []
        with self._lock:
            for bucket in buckets:
                known = bucket.key in self._due
                step, size, due, allowed = self._look(bucket, now)
                if known:
                    self._due[bucket.key] = due
                decisions.append(_decision(bucket, size, allowed, due - now, step))
        return decisions

    def give_back(self, bucket: Bucket) -> None:
        with self._lock:
            if bucket.key in self._due:
                self._due[bucket.key] -= bucket.step_us * self._processes

    def _take(self, group: Sequence[Bucket], now: int) -> list[Decision]:
        found = [self._look(bucket, now) for bucket in group]
        fits = all(allowed for *_, allowed in found)
        decisions = []
        for bucket, (step, size, due, allowed) in zip(group, found, strict=True):
            self._due[bucket.key] = due = due + step if fits else due
            decisions.append(_decision(bucket, size, allowed, due - now, step))
        while len(self._due) > MAX_LOCAL_BUCKETS:
            del self._due[next(iter(self._due))]
        return decisions

    def _look(self, bucket: Bucket, now: int) -> tuple[int, int, int, bool]:
        step = bucket.step_us * self._processes
        size = -(-bucket.size // self._processes)
        due = min(max(self._due.pop(bucket.key, 0), now), now + size * step)
        return step, size, due, due + step - now <= size * step
