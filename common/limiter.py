"""Rate limits: GCRA in one Lua script on Redis time, exact under concurrency, with local buckets when Redis is away.

A bucket of `burst` requests refills evenly at `limit` per `period_seconds`. A request that falls under several limits
takes one from each of their buckets or, where one is empty, from none. While Redis does not answer, each process allows
its share (`limit` / expected processes) by itself: never open, never all denied.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from common.gcra import RETURN_SCRIPT, SCRIPT, SHA, Run, arguments_of, key_of, read_answer, runs_of

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 0.2
BREAK_SECONDS = 1.0  # how long local buckets serve before Redis is asked again
MAX_LOCAL_BUCKETS = 50_000


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
    room_us: int = field(init=False, repr=False)
    """Microseconds in which the empty bucket refills."""

    def __post_init__(self) -> None:  # once for each bucket; they are asked for at each call
        set_field = object.__setattr__
        set_field(self, "size", max(1, self.limit if self.burst is None else self.burst))
        set_field(self, "step_us", -(-self.period_seconds * 1_000_000 // max(1, self.limit)))
        set_field(self, "room_us", self.step_us * self.size)


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
    ordered = _tightest_first(decisions)
    tightest = ordered[0]
    policies, rests = [], []
    for name, _, limit, period_seconds, remaining, reset_seconds, *_ in ordered:
        policies.append(f'"{name}";q={limit};w={period_seconds}')
        rests.append(f'"{name}";r={remaining};t={reset_seconds}')
    fields = {
        "RateLimit-Policy": ", ".join(policies),
        "RateLimit": ", ".join(rests),
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
    return _tightest_first(decisions)[0]


_remaining = attrgetter("remaining")


def _tightest_first(decisions: Sequence[Decision]) -> Sequence[Decision]:
    if len(decisions) == 1:
        return decisions
    for decision in decisions:
        if decision.retry_after_seconds:
            return sorted(decisions, key=lambda one: (-one.retry_after_seconds, one.remaining))
    return sorted(decisions, key=_remaining)


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
        runs = runs_of([buckets])
        count, arguments = arguments_of(runs)
        try:
            try:
                reply = self._redis.evalsha(SHA, count, *arguments)
            except NoScriptError:
                reply = self._redis.eval(SCRIPT, count, *arguments)
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.decide([buckets])[0]
        return _decide(runs, reply)[0]

    def look_at_all(self, buckets: Sequence[Bucket]) -> list[Decision]:
        """What each bucket would say, and nothing is taken."""
        if not buckets:
            return []
        if self._fallback.is_open():
            return self._fallback.look(buckets)
        try:
            with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.time()
                pipeline.mget([key_of(bucket) for bucket in buckets])
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
            self._redis.eval(RETURN_SCRIPT, 1, key_of(bucket), bucket.step_us)
        except (RedisError, OSError) as error:
            self._fallback.open(error)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class AsyncLimiter:
    """The asynchronous front, for the gateway. Reconnects by itself; one per event loop.

    It speaks through redis-py's connections, which know every option of the address, but not through its client, which
    costs more than all else here.
    """

    def __init__(self, redis_url: str, *, processes: int = 1) -> None:
        options = _connection_options(redis.asyncio.retry.Retry(NoBackoff(), 0))
        self._pool: Any = redis.asyncio.ConnectionPool.from_url(redis_url, **options)
        self._seconds: float | None = self._pool.connection_kwargs["socket_timeout"]
        self._idle: list[Any] = []
        self._fallback = _Fallback(processes)

    async def check_many(self, groups: Sequence[Sequence[Bucket]]) -> list[list[Decision]]:
        """Each group takes one request from each of its buckets or, where one is empty, from none; in order, in one
        round trip. Made to be the `send` of a batcher."""
        if not groups:
            return []
        if self._fallback.is_open():
            return self._fallback.decide(groups)
        runs = runs_of(groups)
        try:
            reply = await self._ask(*arguments_of(runs))
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.decide(groups)
        return _decide(runs, reply)

    async def _ask(self, count: int, arguments: Sequence[str | bytes]) -> bytes:
        connection = await self._connection()
        try:
            async with asyncio.timeout(self._seconds):
                try:
                    return await _call(connection, "EVALSHA", SHA, count, *arguments)
                except NoScriptError:
                    return await _call(connection, "EVAL", SCRIPT, count, *arguments)
        except BaseException:  # also when cancelled: an answer may come that nobody waits for
            await connection.disconnect(nowait=True)
            raise
        finally:
            if connection.is_connected:
                self._idle.append(connection)

    async def _connection(self) -> Any:
        """One that nobody uses and that the server has not closed meanwhile, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            with contextlib.suppress(RedisError, OSError):
                if not await connection.can_read():
                    return connection
            await connection.disconnect(nowait=True)
        connection = self._pool.make_connection()
        await connection.connect()
        connection.socket_timeout = None  # it would cost a task for each command; `_ask` has one for both ways
        return connection

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop().disconnect()


async def _call(connection: Any, *command: str | int | bytes) -> bytes:
    await connection.send_packed_command(connection.pack_command(*command))
    reply: bytes = await connection.read_response(disable_decoding=True)
    return reply


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


def _decide(runs: Sequence[Run], reply: bytes) -> list[list[Decision]]:
    decided = []
    for run, (fits, backlogs) in zip(runs, read_answer(runs, reply), strict=True):
        for taken in range(1, fits + 1):
            decided.append(
                [
                    _decision(bucket, True, backlog + taken * bucket.step_us, bucket.step_us, bucket.room_us)
                    for bucket, backlog in zip(run.buckets, backlogs, strict=True)
                ]
            )
        if fits < run.count:
            refused = []
            for bucket, backlog in zip(run.buckets, backlogs, strict=True):
                left = backlog + fits * bucket.step_us
                allowed = left + bucket.step_us <= bucket.room_us
                refused.append(_decision(bucket, allowed, left, bucket.step_us, bucket.room_us))
            decided += [refused] * (run.count - fits)
    return decided


def _decision(bucket: Bucket, allowed: bool, backlog_us: int, step_us: int, room_us: int) -> Decision:
    """backlog_us: how far the theoretical arrival time lies ahead."""
    free_us = room_us - backlog_us
    reset_seconds = -(-backlog_us // 1_000_000)
    if free_us >= step_us:
        answer = (bucket.name, allowed, bucket.limit, bucket.period_seconds, free_us // step_us, reset_seconds, 0, 0)
    else:
        wait = step_us - free_us
        seconds, ms = -(-wait // 1_000_000), -(-wait // 1_000)
        answer = (bucket.name, allowed, bucket.limit, bucket.period_seconds, 0, reset_seconds, seconds, ms)
    return tuple.__new__(Decision, answer)  # Decision(…) takes twice as long


def _seen(bucket: Bucket, due: int, now: int) -> Decision:
    """The script's arithmetic, for a bucket that nothing is taken from. due: its theoretical arrival time."""
    step, room = bucket.step_us, bucket.room_us
    backlog = min(max(due, now), now + room) - now
    return _decision(bucket, backlog + step <= room, backlog, step, room)


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
                decisions.append(_decision(bucket, allowed, due - now, step, size * step))
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
            decisions.append(_decision(bucket, allowed, due - now, step, size * step))
        while len(self._due) > MAX_LOCAL_BUCKETS:
            del self._due[next(iter(self._due))]
        return decisions

    def _look(self, bucket: Bucket, now: int) -> tuple[int, int, int, bool]:
        step = bucket.step_us * self._processes
        size = -(-bucket.size // self._processes)
        due = min(max(self._due.pop(bucket.key, 0), now), now + size * step)
        return step, size, due, due + step - now <= size * step
