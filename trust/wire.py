"""A wire that can be bad: a Unix socket in front of another one, which delays, hangs up or swallows an answer."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Self

PIECE = 65_536
#: Of the session that moves money, by which it is known among the others: see `gateway.hotpath.money`.
MONEY_SESSION = b"force_generic_plan"
READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"  # what PostgreSQL ends an answer with, outside of a transaction


class Wire:
    """`with Wire(target, name) as wire`: `wire.path` leads to the socket `target`."""

    def __init__(self, target: Path, name: str) -> None:
        self.target = target
        self.directory = Path(tempfile.mkdtemp(prefix="agorai-wire-", dir="/tmp"))  # a socket's path is short
        self.path = self.directory / name
        self.delay_seconds = 0.0
        self.is_cut = False  # connections are taken, and hung up on
        self.swallowed = 0
        self._to_swallow = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def hang_up(self) -> None:
        """End every connection that is there now."""
        self._loop.call_soon_threadsafe(self._hang_up)

    def swallow(self, answers: int = 1) -> None:
        """The next answers to the session that moves money do not arrive; the connection breaks instead, each time."""
        self._to_swallow = answers

    # --- On the thread of the wire ---

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _stop(self) -> None:
        self._server.close()
        self._hang_up()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        talk = Talk(self, (writer, back))
        try:
            await asyncio.gather(talk.forth(reader, back), talk.back(there, writer))
        finally:
            self._writers -= {writer, back}
            for one in (writer, back):
                one.close()

    def take_one(self) -> bool:
        """Whether the answer that is coming now is to be swallowed."""
        if not self._to_swallow:
            return False
        self._to_swallow -= 1
        return True


class Talk:
    """One connection through the wire."""

    def __init__(self, wire: Wire, ends: Sequence[asyncio.StreamWriter]) -> None:
        self._wire, self._ends = wire, ends
        self._is_of_money: bool | None = None  # known from the first bytes
        self._swallows = False

    async def forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                if self._is_of_money is None:
                    self._is_of_money = MONEY_SESSION in data
                elif self._is_of_money and not self._swallows and data[:1] == b"B":  # of a batch
                    self._swallows = self._wire.take_one()
                await self._pass(data, writer)
        writer.close()

    async def back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unsaid = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                if self._swallows:
                    unsaid += data
                    if unsaid.endswith(READY_FOR_QUERY):  # it is committed by now
                        self._wire.swallowed += 1
                        for end in self._ends:
                            end.transport.abort()
                        return
                else:
                    await self._pass(data, writer)
        writer.close()

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._wire.delay_seconds:
            await asyncio.sleep(self._wire.delay_seconds)
        writer.write(data)
        await writer.drain()
