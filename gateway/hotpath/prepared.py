"""One prepared statement on a connection of its own, asked over and over: the way past what a driver's cursor does for
any statement. Binary both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

CANCEL_SECONDS = 2.0
_NAME = b"own"
_BINARY = 1


class Prepared:
    """`await prepared.run(parameters)`: the columns of the one row, without NULLs. One run at a time.

    After one that was broken off (a timeout, a cancelled task) its answer may still come: close it then.
    """

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._pgconn, self._socket = connection.pgconn, connection.pgconn.socket
        self._loop = asyncio.get_running_loop()
        self._results: list[PGresult] = []
        self._arrived: asyncio.Future[None] | None = None  # while something is asked
        self._listens = False
        self._listen()  # once, and not for each run: that takes longer than reading

    @classmethod
    async def connect(cls, conninfo: str, statement: str, *, options: str) -> Prepared:
        """Raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, options=options, connect_timeout=3
        )
        prepared = cls(connection)
        try:
            prepared._pgconn.send_prepare(_NAME, statement.encode())
            await prepared._result()
        except BaseException:
            await prepared.close()
            raise
        return prepared

    @property
    def closed(self) -> bool:
        return self._connection.closed

    async def run(self, parameters: Sequence[bytes]) -> list[bytes]:
        """Raises psycopg.Error: OperationalError when the connection broke, and then it may have been done."""
        formats = [_BINARY] * len(parameters)
        self._pgconn.send_query_prepared(_NAME, parameters, param_formats=formats, result_format=_BINARY)
        result = await self._result()
        return [result.get_value(0, column) or b"" for column in range(result.nfields)]

    async def query(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of any other statement."""
        self._listen(False)  # the driver does, for this one
        try:
            return await (await self._connection.execute(statement, parameters)).fetchall()
        finally:
            self._listen(not self.closed)

    async def close(self) -> None:
        self._listen(False)
        await self._connection.close()

    def _listen(self, yes: bool = True) -> None:
        if yes and not self._listens:
            self._loop.add_reader(self._socket, self._read)
        elif self._listens and not yes:  # once: the number may be another socket's after the end of ours
            self._loop.remove_reader(self._socket)
        self._listens = yes

    async def _result(self) -> PGresult:
        """Of what was just sent."""
        self._results.clear()
        arrived = self._arrived = self._loop.create_future()
        is_long = False
        try:
            is_long = bool(self._pgconn.flush())
            if is_long:
                self._loop.add_writer(self._socket, self._write)  # more than the socket takes at once
            await arrived
        except asyncio.CancelledError:  # nobody waits any more: it is better not done
            with contextlib.suppress(psycopg.Error):
                await self._connection.cancel_safe(timeout=CANCEL_SECONDS)
            raise
        finally:
            self._arrived = None
            if is_long:
                self._loop.remove_writer(self._socket)
        result = self._results[-1]
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result)
        return result

    def _read(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            while self._arrived is not None and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    self._end(None)
                    return
                self._results.append(result)
        except psycopg.Error as error:  # also while nothing is asked, when the server hangs up
            self._listen(False)
            self._end(error)

    def _write(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        arrived, self._arrived = self._arrived, None
        if arrived is None or arrived.done():
            return
        if error is None:
            arrived.set_result(None)
        else:
            arrived.set_exception(error)
