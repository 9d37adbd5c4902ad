"""Connections between two exchanges, kept for the next one to the same origin."""

from __future__ import annotations

import asyncio

from common.outbound.connection import KEEPALIVE_SECONDS, Connection

MAX_IDLE = 256  # connections kept to one origin


class Pool:
    """Those of one event loop. `busy`: the connections on which an exchange is under way."""

    def __init__(self) -> None:
        self.busy: set[Connection] = set()
        self._idle: dict[str, list[Connection]] = {}  # by origin, the latest last
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, origin: str, now: float) -> Connection | None:
        """One that can be trusted with a request, if there is one. now: in loop time."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_fresh(now):
                return connection
            connection.close()
        return None

    def give_back(self, origin: str, connection: Connection) -> None:
        """After an exchange, whichever way it ended: keep the connection, or hang up."""
        self.busy.discard(connection)
        if connection.is_reusable():
            idle = self._idle.get(origin)
            if idle is None:
                idle = self._idle[origin] = []
            if len(idle) < MAX_IDLE:
                idle.append(connection)
                if self._sweep is None:
                    self._sweep = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self._close_idle)
                return
        connection.close()

    def close(self) -> None:
        """Close every connection. Exchanges under way end with OutboundClosed."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self.busy):
            connection.cut_off()
        for connection in (one for idle in self._idle.values() for one in idle):
            connection.close()
        self._idle.clear()

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for origin, idle in list(self._idle.items()):
            for connection in [one for one in idle if not one.is_fresh(now)]:
                idle.remove(connection)
                connection.close()
            if not idle:
                del self._idle[origin]
        self._sweep = loop.call_later(KEEPALIVE_SECONDS, self._close_idle) if self._idle else None
