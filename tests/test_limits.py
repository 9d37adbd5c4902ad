"""Rate limits on a real Valkey: exact between processes, and steady while it is away."""

import asyncio
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pytest
import redis

from common.limiter import BREAK_SECONDS, AsyncLimiter, Bucket, Limiter, tightest_of
from config.servers import Valkey


@pytest.fixture
def valkey(tmp_path):
    server = Valkey(data=tmp_path / "data", run=tmp_path / "run", log=tmp_path / "valkey.log", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def limiter(valkey):
    limiter = Limiter(valkey.url())
    yield limiter
    limiter.close()


@pytest.fixture
async def async_limiter(valkey):
    limiter = AsyncLimiter(valkey.url())
    yield limiter
    await limiter.close()


async def check_each(limiter, buckets):
    """Each bucket by itself, in one round trip."""
    return [group[0] for group in await limiter.check_many([(bucket,) for bucket in buckets])]


def _hammer(url, attempts, threads, barrier, admitted):
    limiter = Limiter(url)
    barrier.wait()
    bucket = Bucket("hot", limit=10, period_seconds=600)
    with ThreadPoolExecutor(threads) as pool:
        for decision in pool.map(lambda _: limiter.check(bucket), range(attempts)):
            admitted.put(decision.allowed)


def test_three_processes_admit_exactly_the_limit(valkey):
    context = multiprocessing.get_context("spawn")
    barrier, admitted = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_hammer, args=(valkey.url(), 40, 8, barrier, admitted)) for _ in range(3)]
    for process in processes:
        process.start()
    answers = [admitted.get(timeout=60) for _ in range(120)]
    for process in processes:
        process.join()
    assert sum(answers) == 10


async def test_one_round_trip_decides_for_many_keys_in_order(async_limiter):
    slow = Bucket("slow", limit=2, period_seconds=100, name="key")
    buckets = [slow, Bucket("fast", limit=1000, period_seconds=100), slow, slow]
    first, fast, second, third = await check_each(async_limiter, buckets)
    assert (first.allowed, first.remaining, first.reset_seconds, first.retry_after_seconds) == (True, 1, 50, 0)
    assert (fast.allowed, fast.remaining, fast.reset_seconds) == (True, 999, 1)
    assert (second.allowed, second.remaining, second.reset_seconds) == (True, 0, 100)
    assert (third.allowed, third.remaining, third.reset_seconds, third.retry_after_seconds) == (False, 0, 100, 50)
    assert third.name == "key"


@pytest.mark.parametrize("where", ["redis", "local"])
async def test_who_falls_under_two_limits_takes_from_both_or_from_none(valkey, async_limiter, where):
    limiter = async_limiter if where == "redis" else AsyncLimiter("redis://127.0.0.1:1/0")
    key, other = (Bucket(name, limit=2, period_seconds=600, name="key") for name in ("key", "other"))
    organization = Bucket("organization", limit=3, period_seconds=600, name="organization")
    groups = [(key, organization)] * 3 + [(other, organization)] * 2
    decided = await limiter.check_many(groups)
    assert [[decision.allowed for decision in group] for group in decided] == [
        [True, True],
        [True, True],
        [False, True],  # and nothing is taken from the organization
        [True, True],
        [True, False],  # and nothing is taken from the key
    ]
    assert [group[1].remaining for group in decided] == [2, 1, 1, 0, 0]
    assert decided[4][0].remaining == 1
    assert tightest_of(decided[3]).name == tightest_of(decided[4]).name == "organization"
    await limiter.close()


@pytest.mark.parametrize("seed", range(20))
async def test_calls_that_go_together_are_decided_as_one_by_one(limiter, async_limiter, seed):
    together = await async_limiter.check_many(_arrivals("together", seed))
    alone = [limiter.check_all(buckets) for buckets in _arrivals("alone", seed)]
    assert [[(one.allowed, one.remaining) for one in group] for group in together] == [
        [(one.allowed, one.remaining) for one in group] for group in alone
    ]


def _arrivals(side, seed):
    """Four keys of two organizations, in an order; at the end one that is equal but not the same, and one lowered."""
    random = Random(seed)
    both = [Bucket(f"{side}:organization:{one}", random.randint(1, 30), 36_000) for one in range(2)]
    callers = [(Bucket(f"{side}:key:{one}", random.randint(1, 12), 36_000), both[one % 2]) for one in range(4)]
    arrivals = random.choices(callers, weights=[8, 4, 2, 1], k=40)
    return [*arrivals, list(arrivals[-1]), (replace(callers[0][0], limit=2), both[0])]


@pytest.mark.parametrize("where", ["redis", "local"])
def test_what_did_not_count_is_given_back(valkey, limiter, where):
    front = limiter if where == "redis" else Limiter("redis://127.0.0.1:1/0")
    bucket = Bucket("guess", limit=2, period_seconds=600)
    for _ in range(5):
        assert front.check(bucket).allowed
        front.give_back(bucket)
    assert [front.check(bucket).allowed for _ in range(3)] == [True, True, False]


async def test_both_fronts_share_the_buckets_and_leave_nothing_behind(valkey, limiter, async_limiter):
    bucket = Bucket("shared", limit=2, period_seconds=600)
    assert (await check_each(async_limiter, [bucket]))[0].allowed
    assert limiter.check(bucket).allowed
    assert not (await check_each(async_limiter, [bucket]))[0].allowed
    with redis.Redis.from_url(valkey.url()) as client:
        assert [client.pttl(key) > 0 for key in client.scan_iter()] == [True]


def test_no_window_admits_more_than_the_burst_and_the_refill(limiter):
    bucket = Bucket("steady", limit=100, period_seconds=1, burst=5)
    admitted = []
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        if limiter.check(bucket).allowed:
            admitted.append(time.monotonic())
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= 5 + (admitted[last] - admitted[first]) * 100 + 1  # one for the clocks
    assert len(admitted) >= 30


def test_a_clock_set_back_or_a_lowered_limit_locks_nobody_out_for_longer_than_a_bucket(valkey, limiter):
    with redis.Redis.from_url(valkey.url()) as client:
        client.set("limit:a", (int(time.time()) + 10**6) * 10**6)
    refused = limiter.check(Bucket("a", limit=10, period_seconds=10))
    assert not refused.allowed
    assert refused.retry_after_seconds == 1


def test_waiting_as_long_as_told_suffices(limiter):
    bucket = Bucket("patient", limit=2, period_seconds=2)
    while (decision := limiter.check(bucket)).allowed:
        pass
    time.sleep(decision.retry_after_seconds)
    assert limiter.check(bucket).allowed


def test_a_flushed_script_cache_does_not_matter(valkey, limiter):
    bucket = Bucket("script", limit=2, period_seconds=600)
    assert limiter.check(bucket).allowed
    with redis.Redis.from_url(valkey.url()) as client:
        client.script_flush()
    assert limiter.check(bucket).allowed
    assert not limiter.check(bucket).allowed


async def test_nothing_of_it_is_written_into_the_append_only_file(tmp_path):
    server = Valkey(data=tmp_path / "data", run=tmp_path / "run", log=tmp_path / "valkey.log")
    server.start()
    front, limiter = AsyncLimiter(server.url()), Limiter(server.url())
    try:
        with redis.Redis.from_url(server.url()) as client:
            client.set("kept", 1)
            before = client.info("persistence")["aof_current_size"]
            bucket = Bucket("unlogged", limit=10, period_seconds=600)
            assert (await check_each(front, [bucket] * 5))[4].remaining == 5
            limiter.give_back(bucket)
            assert limiter.check(bucket).remaining == 5
            time.sleep(0.1)
            assert client.info("persistence")["aof_current_size"] == before
            client.set("kept", 2)
            time.sleep(0.1)
            assert client.info("persistence")["aof_current_size"] > before
    finally:
        await front.close()
        limiter.close()
        server.stop()


async def test_the_address_says_which_database_and_who_asks(valkey):
    with redis.Redis.from_url(valkey.url()) as client:
        client.acl_setuser("gate", enabled=True, passwords=["+let-me"], keys=["limit:*"], commands=["+@all"])
        client.config_set("requirepass", "secret")
        address = f"unix://gate:let-me@{valkey.socket}?db=3&socket_timeout=20"
        front = AsyncLimiter(address)
        assert front._seconds == 20
        assert (await check_each(front, [Bucket("known", limit=2)]))[0].remaining == 1
        assert not front._fallback.is_open()
        assert not client.exists("limit:known")
        client.select(3)
        assert client.exists("limit:known")
        await front.close()


async def test_a_connection_that_was_closed_meanwhile_is_not_an_outage(valkey, async_limiter):
    bucket = Bucket("idle", limit=10, period_seconds=600)
    await check_each(async_limiter, [bucket])
    with redis.Redis.from_url(valkey.url()) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.script_flush()
    await asyncio.sleep(0.05)
    assert (await check_each(async_limiter, [bucket]))[0].remaining == 8
    assert not async_limiter._fallback.is_open()


async def test_who_gives_up_does_not_leave_an_answer_for_the_next(valkey, async_limiter):
    mine, other = (Bucket(name, limit=10, period_seconds=600, name=name) for name in ("mine", "other"))
    await check_each(async_limiter, [mine])
    os.kill(valkey.process.pid, signal.SIGSTOP)
    asked = asyncio.create_task(check_each(async_limiter, [other] * 4))
    await asyncio.sleep(0.05)
    asked.cancel()
    await asyncio.wait([asked])
    os.kill(valkey.process.pid, signal.SIGCONT)
    both = await asyncio.gather(check_each(async_limiter, [mine] * 2), check_each(async_limiter, [other]))
    assert [[decision.name for decision in decisions] for decisions in both] == [["mine"] * 2, ["other"]]
    assert both[0][1].remaining == 7
    assert both[1][0].remaining in (5, 9)  # what was given up on may have been counted
    assert not async_limiter._fallback.is_open()


@pytest.mark.parametrize("outage", ["killed", "frozen", "password"])
async def test_an_outage_neither_opens_nor_closes_the_door(valkey, limiter, async_limiter, outage, caplog):
    bucket = Bucket("outage", limit=20, period_seconds=600)
    assert (await check_each(async_limiter, [bucket]))[0].allowed
    assert limiter.check(bucket).allowed

    pid = valkey.process.pid
    if outage == "killed":
        os.kill(pid, signal.SIGKILL)
        valkey.process.wait()
    elif outage == "frozen":
        os.kill(pid, signal.SIGSTOP)
    else:
        with redis.Redis.from_url(valkey.url()) as client:
            client.config_set("requirepass", "secret")
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
    slowest = 0.0
    decisions = []
    for _ in range(60):
        started = time.monotonic()
        decisions += await check_each(async_limiter, [bucket])
        slowest = max(slowest, time.monotonic() - started)
    assert sum(decision.allowed for decision in decisions) == 20  # the local bucket, once
    assert sum(limiter.check(bucket).allowed for _ in range(60)) == 20
    assert slowest < 0.5
    assert "rate limits are local" in caplog.text

    if outage == "killed":
        valkey.start()
    elif outage == "frozen":
        os.kill(pid, signal.SIGCONT)
    else:
        with redis.Redis.from_url(valkey.url(), password="secret") as client:
            client.config_set("requirepass", "")
    await asyncio.sleep(BREAK_SECONDS * 1.2)
    back = Bucket("back", limit=1000, period_seconds=1000)
    for _ in range(2):  # the first may find out that its connection is dead
        await check_each(async_limiter, [back])
        limiter.check(back)
        await asyncio.sleep(BREAK_SECONDS * 1.2)
    await check_each(async_limiter, [back])
    limiter.check(back)
    with redis.Redis.from_url(valkey.url()) as client:
        assert client.exists("limit:back")
        assert not async_limiter._fallback.is_open()
        assert not limiter._fallback.is_open()
