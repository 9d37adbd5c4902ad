"""The way to a client that reads a stream, at its own pace.

As long as it keeps up, everything is handed over where it comes from, without a task or a queue in between. Only when
it does not, a task of its own takes over, and what comes meanwhile waits in a bounded queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any

QUEUED_BYTES = 256 * 1024  # for a client that lags; then the upstream waits
STALLED_SECONDS = 60  # a client that takes nothing for so long has gone

#: Hands over bytes, and whether more follow. It may be begun in one task and ended in another, so it uses none.
Emit = Callable[[bytes, bool], Coroutine[Any, Any, None]]


class Writer:
    """`write` never waits; whoever sees `is_full` awaits `room`. on_gone: told once that the client takes no more."""

    def __init__(self, emit: Emit, on_gone: Callable[[], None]) -> None:
        self._emit, self._on_gone = emit, on_gone
        self._queue: list[bytes] = []
        self._queued = 0
        self._more = True
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_gone = False
        self.has_written = False

    @property
    def is_full(self) -> bool:
        return self._queued > QUEUED_BYTES

    def write(self, data: bytes, more: bool = True) -> None:
        """Hand over, or queue behind what waits. Once the client has gone, nothing is."""
        if self._is_gone:
            return
        self.has_written = True
        if self._task is not None:
            self._queue.append(data)
            self._queued += len(data)
            self._more = more
            return
        emitting = self._emit(data, more)
        try:
            waits_for = emitting.send(None)
        except StopIteration:
            return
        except OSError:
            self._lose()
            return
        self._task = asyncio.get_running_loop().create_task(self._catch_up(emitting, waits_for))

    async def room(self) -> None:
        """Return when there is room again, or nobody to have it for."""
        while self.is_full and self._task is not None:
            await self._wait()

    async def flush(self) -> None:
        """Return when all of it was handed over, or the client has gone."""
        while self._task is not None:
            await self._wait()

    def leave(self) -> None:
        """The client has gone: nothing is written any more."""
        self._is_gone = True
        self._queue, self._queued = [], 0
        if self._task is not None:
            self._task.cancel()
        self._wake()

    async def _catch_up(self, emitting: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await _continued(emitting, waits_for)
            while self._queue:
                data, more = b"".join(self._queue), self._more
                self._queue, self._queued = [], 0
                self._wake()
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._emit(data, more)
        except (TimeoutError, OSError):
            self._lose()
        finally:
            self._task = None
            self._wake()

    def _lose(self) -> None:
        self._task = None  # which is this one
        self._on_gone()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@coroutine
def _continued(begun: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that was begun elsewhere and waits for something."""
    try:
        while True:
            try:
                got = yield waits_for
            except BaseException as error:
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(got)
    except StopIteration:
        return
