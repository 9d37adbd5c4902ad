"""Micro-batching: what waits while one round trip is in flight leaves together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Is told how an item ended, an exception included, whether anybody still waits for it or not.
Ended = Callable[[Result | BaseException], None]
Entry = tuple[Item, asyncio.Future[Result], Ended[Result] | None]


class QueueFull(Exception):
    """More is waiting than one process will remember; the caller answers 503."""


class Batcher(Generic[Item, Result]):
    """`await batcher(item)`: one batch in flight, no timer, no added latency when idle.

    send: takes the items of a batch and answers one result per item, in their order. An exception among the results is
    raised for its own item, one that `send` raises for every item. What its caller gave up on before it left is not
    sent, unless somebody else is told how it `ended`; what has left is, so whatever a caller asks for next leaves after
    it.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        cap: int = 256,
        bound: int = 10_000,
    ) -> None:
        self._send, self._cap, self._bound = send, cap, bound
        self._waiting: deque[Entry[Item, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # asking for it is a system call each time

    def __call__(self, item: Item, ended: Ended[Result] | None = None) -> asyncio.Future[Result]:
        if len(self._waiting) >= self._bound:
            raise QueueFull
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future, ended))
        if self._worker is None:
            self._worker = loop.create_task(self._work())  # starts after this turn: all of the turn go together
        return future

    async def _work(self) -> None:
        batch: list[Entry[Item, Result]] = []
        try:
            while batch := self._next_batch():
                await self._send_batch(batch)
                batch = []
                await asyncio.sleep(0)  # let this batch's callers and the sockets run once: the next one is bigger
        finally:
            self._worker = None
            left = [*batch, *self._waiting]  # cancelled in the middle: nobody may wait for ever
            self._waiting.clear()
            for _, future, ended in left:
                future.cancel()
                if ended is not None:
                    ended(asyncio.CancelledError())

    def _next_batch(self) -> list[Entry[Item, Result]]:
        waiting = self._waiting
        batch: list[Entry[Item, Result]] = []
        while waiting and len(batch) < self._cap:
            entry = waiting.popleft()
            if entry[2] is not None or not entry[1].done():
                batch.append(entry)
        return batch

    async def _send_batch(self, batch: Sequence[Entry[Item, Result]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._send([entry[0] for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as error:
            results = [error] * len(batch)
        for (_, future, ended), result in zip(batch, results, strict=True):
            if not future.done():
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            if ended is not None:
                ended(result)
