"""Micro-batching: what waits while one round trip is in flight leaves together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class QueueFull(Exception):
    """More is waiting than one process will remember; the caller answers 503."""


class Batcher(Generic[Item, Result]):
    """`await batcher(item)`: one batch in flight, no timer, no added latency when idle.

    send: takes the items of a batch and answers one result per item, in their order. An exception among the results is
    raised for its own item, one that `send` raises for every item. What its caller gave up on before it left is not
    sent; what has left is, so whatever a caller asks for next leaves after it.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        cap: int = 256,
        bound: int = 10_000,
    ) -> None:
        self._send, self._cap, self._bound = send, cap, bound
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    def __call__(self, item: Item) -> asyncio.Future[Result]:
        if len(self._waiting) >= self._bound:
            raise QueueFull
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())  # starts after this turn: all of the turn go together
        return future

    async def _work(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        try:
            while batch := self._next_batch():
                await self._send_batch(batch)
                await asyncio.sleep(0)  # let this batch's callers and the sockets run once: the next one is bigger
        finally:
            self._worker = None
            for _, future in (*batch, *self._waiting):  # cancelled in the middle: nobody may wait for ever
                future.cancel()
            self._waiting.clear()

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        waiting, batch = self._waiting, list[tuple[Item, asyncio.Future[Result]]]()
        while waiting and len(batch) < self._cap:
            entry = waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _send_batch(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._send([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
