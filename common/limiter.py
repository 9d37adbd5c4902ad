"""Rate limits: GCRA in one Lua script on Redis time, exact under concurrency, with local buckets when Redis is away.

A bucket of `burst` requests refills evenly at `limit` per `period_seconds`. While Redis does not answer, each process
allows its share (`limit` / expected processes) by itself: never open, never all denied.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from ipaddress import ip_address, ip_network
from typing import Any

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from common.address import pick_address

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 0.2
BREAK_SECONDS = 1.0  # how long local buckets serve before Redis is asked again
MAX_LOCAL_BUCKETS = 50_000

# For each key: ARGV holds microseconds per request and the burst. The stored value is the theoretical arrival time,
# kept within one full bucket of now, so that neither a clock set back nor a lowered limit locks anyone out for longer.
# On Redis Cluster the keys of one call must share a slot.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = {}
for i, key in ipairs(KEYS) do
  local step = tonumber(ARGV[2 * i - 1])
  local room = step * tonumber(ARGV[2 * i])
  local due = tonumber(redis.call('GET', key) or 0)
  due = math.min(math.max(due, now), now + room)
  local allowed = due + step - now <= room
  if allowed then
    due = due + step
    redis.call('SET', key, string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1000)
  end
  answer[2 * i - 1] = allowed and 1 or 0
  answer[2 * i] = due - now
end
return answer
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

    @property
    def size(self) -> int:
        return max(1, self.limit if self.burst is None else self.burst)

    @property
    def step_us(self) -> int:
        """Microseconds in which one request is refilled, rounded up: never more than the limit."""
        return -(-self.period_seconds * 1_000_000 // max(1, self.limit))


@dataclass(frozen=True, slots=True)
class Decision:
    """What the bucket said. Seconds are rounded up, so waiting that long suffices."""

    name: str
    allowed: bool
    limit: int
    period_seconds: int
    remaining: int
    reset_seconds: int  # until the bucket is full again
    retry_after_seconds: int  # until the next request fits; 0 when one fits now

    def headers(self) -> dict[str, str]:
        """IETF `RateLimit` fields, OpenAI's `x-ratelimit-*` and, on a refusal, `Retry-After`."""
        fields = {
            "RateLimit-Policy": f'"{self.name}";q={self.limit};w={self.period_seconds}',
            "RateLimit": f'"{self.name}";r={self.remaining};t={self.reset_seconds}',
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds}s",
        }
        return fields if self.allowed else fields | {"Retry-After": str(self.retry_after_seconds)}


class Limiter:
    """The synchronous front, for pages and the REST API. Safe to share between threads."""

    def __init__(self, redis_url: str, *, processes: int = 1) -> None:
        self._redis = redis.Redis.from_url(redis_url, **_connection_options(redis.retry.Retry(NoBackoff(), 0)))
        self._fallback = _Fallback(processes)

    def check(self, bucket: Bucket) -> Decision:
        """Take one request from the bucket if there is one."""
        if self._fallback.is_open():
            return self._fallback.decide([bucket])[0]
        keys_and_arguments = _pack([bucket])
        try:
            try:
                reply = self._redis.evalsha(_SHA, 1, *keys_and_arguments)
            except NoScriptError:
                reply = self._redis.eval(SCRIPT, 1, *keys_and_arguments)
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.decide([bucket])[0]
        return _decide([bucket], reply)[0]

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class AsyncLimiter:
    """The asynchronous front, for the gateway. Reconnects by itself; one per event loop."""

    def __init__(self, redis_url: str, *, processes: int = 1) -> None:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        self._redis = redis.asyncio.Redis.from_url(redis_url, **_connection_options(retry))
        self._fallback = _Fallback(processes)

    async def check_many(self, buckets: Sequence[Bucket]) -> list[Decision]:
        """Take one request from each bucket, in order, in one round trip. Made to be the `send` of a batcher."""
        if not buckets:
            return []
        if self._fallback.is_open():
            return self._fallback.decide(buckets)
        keys_and_arguments = _pack(buckets)
        try:
            try:
                reply = await self._redis.evalsha(_SHA, len(buckets), *keys_and_arguments)
            except NoScriptError:
                reply = await self._redis.eval(SCRIPT, len(buckets), *keys_and_arguments)
        except (RedisError, OSError) as error:
            self._fallback.open(error)
            return self._fallback.decide(buckets)
        return _decide(buckets, reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def check(
    key: str, limit: int, period_seconds: int = 60, burst: int | None = None, *, name: str = "requests"
) -> Decision:
    """Take one request from the bucket `key` of this process' `Limiter` (`REDIS_URL`)."""
    return _limiter().check(Bucket(key, limit, period_seconds, burst, name))


@cache
def _limiter() -> Limiter:
    return Limiter(settings.REDIS_URL, processes=settings.LIMITER_PROCESSES)


def client_bucket(meta: Mapping[str, Any], trusted_proxies: int) -> str:
    """Whose bucket an anonymous request draws from. `meta`: `REMOTE_ADDR` and `HTTP_X_FORWARDED_FOR`, as in WSGI."""
    address = pick_address(meta.get("REMOTE_ADDR") or "", meta.get("HTTP_X_FORWARDED_FOR") or "", trusted_proxies)
    return network_of(address)


def network_of(address: str) -> str:
    """An IPv4 address as it is; of IPv6 the /64, since whoever has one address has 2⁶⁴; "unknown" for anything else."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


def _connection_options(retry: Any) -> dict[str, Any]:
    return {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        "retry": retry,
        "driver_info": None,
        "protocol": 2,  # with this and no driver info, connecting needs no extra round trips
    }


def _pack(buckets: Sequence[Bucket]) -> list[str | int]:
    packed: list[str | int] = ["limit:" + bucket.key for bucket in buckets]
    for bucket in buckets:
        packed += (bucket.step_us, bucket.size)
    return packed


def _decide(buckets: Sequence[Bucket], reply: Sequence[int]) -> list[Decision]:
    return [_decision(bucket, bucket.size, bool(reply[2 * i]), reply[2 * i + 1]) for i, bucket in enumerate(buckets)]


def _decision(bucket: Bucket, size: int, allowed: bool, backlog_us: int, step_us: int | None = None) -> Decision:
    """backlog_us: how far the theoretical arrival time lies ahead."""
    step = step_us or bucket.step_us
    free_us = size * step - backlog_us
    return Decision(
        name=bucket.name,
        allowed=allowed,
        limit=bucket.limit,
        period_seconds=bucket.period_seconds,
        remaining=max(0, free_us // step),
        reset_seconds=math.ceil(backlog_us / 1_000_000),
        retry_after_seconds=0 if free_us >= step else max(1, math.ceil((step - free_us) / 1_000_000)),
    )


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

    def decide(self, buckets: Sequence[Bucket]) -> list[Decision]:
        now = time.monotonic_ns() // 1000
        with self._lock:
            return [self._take(bucket, now) for bucket in buckets]

    def _take(self, bucket: Bucket, now: int) -> Decision:
        step = bucket.step_us * self._processes
        size = -(-bucket.size // self._processes)
        due = min(max(self._due.pop(bucket.key, 0), now), now + size * step)
        allowed = due + step - now <= size * step
        if allowed:
            due += step
        self._due[bucket.key] = due
        while len(self._due) > MAX_LOCAL_BUCKETS:
            del self._due[next(iter(self._due))]
        return _decision(bucket, size, allowed, due - now, step)
