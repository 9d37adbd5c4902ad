"""What waits while a round trip is in flight leaves together."""

import asyncio

import pytest

from gateway.hotpath.batcher import Batcher, QueueFull


def test_what_arrives_in_one_turn_is_one_batch_and_each_gets_its_own_result():
    batches = []

    async def send(items):
        batches.append(list(items))
        return [item * 10 for item in items]

    async def run():
        batcher = Batcher(send)
        return await asyncio.gather(*(batcher(n) for n in range(5)))

    assert asyncio.run(run()) == [0, 10, 20, 30, 40]
    assert batches == [[0, 1, 2, 3, 4]]


def test_what_arrives_while_a_batch_is_out_goes_with_the_next_one():
    batches = []

    async def send(items):
        batches.append(list(items))
        await asyncio.sleep(0.01)
        return items

    async def run():
        batcher = Batcher(send)
        first = batcher("a")
        await asyncio.sleep(0.001)
        later = [batcher("b"), batcher("c")]
        await asyncio.gather(first, *later)

    asyncio.run(run())
    assert batches == [["a"], ["b", "c"]]


def test_no_batch_is_larger_than_the_cap():
    sizes = []

    async def send(items):
        sizes.append(len(items))
        return items

    async def run():
        batcher = Batcher(send, cap=3)
        await asyncio.gather(*(batcher(n) for n in range(8)))

    asyncio.run(run())
    assert sizes == [3, 3, 2]


def test_a_failed_batch_fails_its_items_and_the_next_one_is_sent():
    async def send(items):
        if "bad" in items:
            raise ConnectionError("gone")
        return items

    async def run():
        batcher = Batcher(send, cap=1)
        return await asyncio.gather(batcher("bad"), batcher("good"), return_exceptions=True)

    failed, passed = asyncio.run(run())
    assert isinstance(failed, ConnectionError)
    assert passed == "good"


def test_a_caller_that_gives_up_does_not_hold_up_the_others():
    async def send(items):
        await asyncio.sleep(0.01)
        return items

    async def run():
        batcher = Batcher(send)
        given_up, patient = batcher("a"), batcher("b")
        await asyncio.sleep(0)
        given_up.cancel()
        return await patient

    assert asyncio.run(run()) == "b"


def test_what_its_caller_gave_up_on_before_it_left_is_not_sent():
    batches = []

    async def send(items):
        batches.append(list(items))
        await asyncio.sleep(0.01)
        return items

    async def run():
        batcher = Batcher(send)
        first = batcher("a")
        await asyncio.sleep(0.001)
        given_up, patient = batcher("b"), batcher("c")
        given_up.cancel()
        return await asyncio.gather(first, patient)

    assert asyncio.run(run()) == ["a", "c"]
    assert batches == [["a"], ["c"]]


def test_an_exception_among_the_results_is_for_its_own_item():
    async def send(items):
        return [ValueError(item) if item == "bad" else item for item in items]

    async def run():
        batcher = Batcher(send)
        return await asyncio.gather(batcher("good"), batcher("bad"), return_exceptions=True)

    passed, failed = asyncio.run(run())
    assert passed == "good"
    assert isinstance(failed, ValueError)


def test_a_sender_that_miscounts_leaves_nobody_waiting():
    async def send(items):
        return items[1:]

    async def run():
        batcher = Batcher(send)
        found = await asyncio.wait_for(asyncio.gather(batcher(1), batcher(2), return_exceptions=True), 1)
        return found, await asyncio.gather(batcher(3), return_exceptions=True)

    first, second = asyncio.run(run())
    assert [type(error) for error in (*first, *second)] == [RuntimeError] * 3


def test_nobody_waits_for_a_worker_that_was_cancelled():
    async def run():
        batcher = Batcher(lambda items: asyncio.sleep(10, items), cap=1)
        waiting = [batcher("sent"), batcher("queued")]
        await asyncio.sleep(0.01)
        batcher._worker.cancel()
        await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
        return [future.cancelled() for future in waiting]

    assert asyncio.run(run()) == [True, True]


def test_more_than_the_bound_is_refused_at_once():
    async def run():
        batcher = Batcher(lambda items: asyncio.sleep(1, items), bound=2)
        batcher("a"), batcher("b")
        with pytest.raises(QueueFull):
            batcher("c")

    asyncio.run(run())


def test_what_somebody_is_told_the_end_of_is_sent_though_nobody_waits_any_more():
    sent, told = [], []

    async def send(items):
        await asyncio.sleep(0.01)
        sent.extend(items)
        return [item if item != "bad" else ValueError("bad") for item in items]

    async def run():
        batcher = Batcher(send)
        batcher("first")
        for item in ("kept", "bad"):
            waiter = asyncio.ensure_future(_wait(batcher(item, told.append)))
            await asyncio.sleep(0)
            waiter.cancel()
        dropped = batcher("dropped")
        dropped.cancel()
        await asyncio.sleep(0.1)

    asyncio.run(run())
    assert sent == ["first", "kept", "bad"]
    assert told[0] == "kept"
    assert isinstance(told[1], ValueError)


def test_a_batcher_that_is_ended_tells_so():
    told = []

    async def run():
        batcher = Batcher(lambda items: asyncio.sleep(10, items), cap=1)
        waiting = [batcher(1, told.append), batcher(2, told.append)]
        await asyncio.sleep(0.01)
        batcher._worker.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())
    assert [type(end) for end in told] == [asyncio.CancelledError] * 2


async def _wait(future):
    return await future
