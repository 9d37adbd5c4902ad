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

    send: takes the items of a batch and answers one result per item, in their order; what it raises, every item gets.
    """

    def __init__(
        self, send: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, cap: int = 256, bound: int = 10_000
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
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._cap, len(self._waiting)))]
                try:
                    results = await self._send([item for item, _ in batch])
                except Exception as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), result in zip(batch, results, strict=True):
                        if not future.done():
                            future.set_result(result)
                await asyncio.sleep(0)  # let this batch's callers and the sockets run once: the next one is bigger
        finally:
            self._worker = None
            if self._waiting:  # cancelled in the middle: nobody may wait for ever
                for _, future in self._waiting:
                    future.cancel()
                self._waiting.clear()
