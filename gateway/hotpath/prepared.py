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
        self._pgconn = connection.pgconn

    @classmethod
    async def connect(cls, conninfo: str, statement: str, *, options: str) -> Prepared:
        """Raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, options=options, connect_timeout=3
        )
        prepared = cls(connection)
        prepared._pgconn.send_prepare(_NAME, statement.encode())
        await prepared._result()
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
        return await (await self._connection.execute(statement, parameters)).fetchall()

    async def close(self) -> None:
        await self._connection.close()

    async def _result(self) -> PGresult:
        """Of what was just sent."""
        pgconn, loop = self._pgconn, asyncio.get_running_loop()
        socket, results = pgconn.socket, list[PGresult]()
        arrived: asyncio.Future[None] = loop.create_future()

        def end(error: Exception | None) -> None:
            if arrived.done():
                return
            if error is None:
                arrived.set_result(None)
            else:
                arrived.set_exception(error)

        def read() -> None:
            try:
                pgconn.consume_input()
                while not pgconn.is_busy():
                    result = pgconn.get_result()
                    if result is None:
                        end(None)
                        return
                    results.append(result)
            except psycopg.Error as error:
                end(error)

        def write() -> None:
            try:
                if not pgconn.flush():
                    loop.remove_writer(socket)
            except psycopg.Error as error:
                end(error)

        loop.add_reader(socket, read)
        try:
            if pgconn.flush():
                loop.add_writer(socket, write)  # more than the socket takes at once
            await arrived
        except asyncio.CancelledError:  # nobody waits any more: it is better not done
            with contextlib.suppress(psycopg.Error):
                await self._connection.cancel_safe(timeout=CANCEL_SECONDS)
            raise
        finally:
            loop.remove_reader(socket)
            loop.remove_writer(socket)
        (*_, result) = results
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result)
        return result
