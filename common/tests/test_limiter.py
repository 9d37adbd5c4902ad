"""The arithmetic, the headers and the local fallback. Redis itself is in tests/test_limits.py."""

import math

import pytest

from common import limiter
from common.limiter import AsyncLimiter, Bucket, Decision, Limiter, headers_of

NO_REDIS = "redis://127.0.0.1:1/0"


def test_the_headers_say_it_in_three_dialects():
    decision = Decision("key", True, 600, 60, remaining=412, reset_seconds=23, retry_after_seconds=0)
    assert decision.headers() == {
        "RateLimit-Policy": '"key";q=600;w=60',
        "RateLimit": '"key";r=412;t=23',
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "412",
        "x-ratelimit-reset-requests": "23s",
    }
    refused = Decision("key", False, 600, 60, remaining=0, reset_seconds=60, retry_after_seconds=1)
    assert refused.headers()["Retry-After"] == "1"


def test_of_several_limits_the_tightest_is_named_first():
    key = Decision("key", True, 600, 60, remaining=400, reset_seconds=20, retry_after_seconds=0)
    organization = Decision("organization", True, 6000, 60, remaining=12, reset_seconds=59, retry_after_seconds=0)
    headers = headers_of([key, organization])
    assert headers["RateLimit-Policy"] == '"organization";q=6000;w=60, "key";q=600;w=60'
    assert headers["RateLimit"] == '"organization";r=12;t=59, "key";r=400;t=20'
    assert headers["x-ratelimit-limit-requests"] == "6000"
    assert headers["x-ratelimit-remaining-requests"] == "12"
    assert "Retry-After" not in headers
    refused = Decision("key", False, 60, 3600, remaining=0, reset_seconds=9, retry_after_seconds=2, retry_after_ms=1500)
    headers = headers_of([organization, refused])
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert (headers["Retry-After"], headers["retry-after-ms"]) == ("2", "1500")


def test_without_redis_a_process_allows_its_share_and_not_more():
    alone, one_of_four = Limiter(NO_REDIS), Limiter(NO_REDIS, processes=4)
    bucket = Bucket("a", limit=100, period_seconds=3600)
    assert sum(alone.check(bucket).allowed for _ in range(300)) == 100
    assert sum(one_of_four.check(bucket).allowed for _ in range(300)) == 25


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_small_limit_is_never_a_closed_door(limit):
    share = Limiter(NO_REDIS, processes=16)
    assert share.check(Bucket("a", limit)).allowed


def test_what_a_local_bucket_answers():
    local = Limiter(NO_REDIS)
    bucket = Bucket("a", limit=2, period_seconds=100, name="key")
    first, second, third = (local.check(bucket) for _ in range(3))
    assert (first.allowed, first.remaining, first.reset_seconds, first.retry_after_seconds) == (True, 1, 50, 0)
    assert (second.allowed, second.remaining, second.reset_seconds) == (True, 0, 100)
    assert (third.allowed, third.remaining, third.reset_seconds, third.retry_after_seconds) == (False, 0, 100, 50)
    assert (third.name, third.limit, third.period_seconds) == ("key", 2, 100)
    assert local.check(Bucket("b", limit=2, period_seconds=100)).allowed  # another key, another bucket


def test_local_buckets_refill(monkeypatch):
    now = 10**15
    monkeypatch.setattr("time.monotonic_ns", lambda: now)
    local = Limiter(NO_REDIS)
    bucket = Bucket("a", limit=10, period_seconds=10)
    admitted = 0
    for _ in range(1_000):  # ten seconds, a hundred attempts in each
        admitted += local.check(bucket).allowed
        now += 10_000_000
    assert admitted == 10 + 9  # the burst, then one a second


def test_many_strangers_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(limiter, "MAX_LOCAL_BUCKETS", 100)
    local = Limiter(NO_REDIS)
    for number in range(1_000):
        local.check(Bucket(f"stranger{number}", limit=1))
        local.check(Bucket("regular", limit=1))
    assert len(local._fallback._due) == 100
    assert not local.check(Bucket("regular", limit=1)).allowed  # who keeps coming is not forgotten


async def test_the_asynchronous_front_falls_back_alike():
    front = AsyncLimiter(NO_REDIS, processes=2)
    decisions = await front.check_many([[Bucket("a", limit=10, period_seconds=3600)]] * 20)
    assert [decision.allowed for (decision,) in decisions] == [True] * 5 + [False] * 15
    assert await front.check_many([]) == []
    await front.close()


@pytest.mark.parametrize("limit", [1, 3, 7, 600, 10**6])
def test_rounding_is_never_in_favour_of_more(limit):
    assert limit * Bucket("a", limit, 60).step_us >= 60 * 10**6
    assert Bucket("a", limit, 60).step_us == math.ceil(60 * 10**6 / limit)
