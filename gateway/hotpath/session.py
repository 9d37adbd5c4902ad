"""Calls of people who signed in: the coroutine of every other call, asked for by a view instead of a program.

A call goes on to its end when whoever asked has gone, and is settled as the billing policy says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar
from uuid import UUID

from gateway.hotpath import writer
from gateway.hotpath.app import running_gateway
from gateway.hotpath.call import Gateway
from gateway.hotpath.rules import Answer, Call
from gateway.hotpath.stream import Stream

QUEUED_EVENTS = 64  # between the upstream and a slow browser; then the upstream waits

Result = TypeVar("Result")
_running: set[asyncio.Task[Any]] = set()


async def admit(
    *, id: UUID, organization_id: UUID, user_id: UUID, ai_model_id: UUID, kind: str, body: dict[str, Any], size: int
) -> tuple[Gateway, Call]:
    """The call, if this person may make it now for this organization. Raises the problem that says why not."""
    gateway = await running_gateway()
    caller = await gateway.snapshots.caller_of_person((organization_id, user_id))
    await gateway.check_rate(caller.buckets)
    listing = await gateway.find_listing(ai_model_id, caller)
    return gateway, Call(caller, listing, kind, body, size, id=id)


async def ask(gateway: Gateway, call: Call) -> Answer:
    """The whole answer. Raises the problem of a call that failed."""
    return await asyncio.shield(_kept(gateway.answer(call)))


class EventStream:
    """A streamed answer, to be read event by event. Whoever stops reading says so with `leave`."""

    def __init__(self, gateway: Gateway, call: Call) -> None:
        call.is_streamed = True
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_EVENTS)
        self._stream = Stream(gateway, call, self._push, keeps_alive=False)
        self._run = _kept(self._run_to_the_end())

    async def first(self) -> bytes:
        """The first event. Raises the problem of a call that delivered nothing."""
        try:
            event = await self._events.get()
        except asyncio.CancelledError:
            self.leave()
            raise
        if event is None:
            await self._run
            return b""
        return event

    async def rest(self) -> AsyncIterator[bytes]:
        """The events after it. When they end, the call is settled."""
        while (event := await self._events.get()) is not None:
            yield event

    def leave(self) -> None:
        """Nobody reads any more: the upstream is read on for its usage, for a while."""
        self._stream.client_left()
        while not self._events.empty():  # so that nothing waits for its place in the queue
            self._events.get_nowait()

    async def _run_to_the_end(self) -> None:
        try:
            await self._stream.run()
        finally:
            try:
                async with asyncio.timeout(writer.STALLED_SECONDS):
                    await self._events.put(None)
            except TimeoutError:
                self.leave()

    async def _push(self, event: bytes, more: bool = True) -> None:
        await self._events.put(event)


def _kept(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """The work as a task that lives until it ends, whoever waits for it."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # seen; whoever waited was told
