"""T18's: clients that send a byte each ten seconds, or take one each second, each on a connection of its own."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

ESTABLISHED = 1
SMALL_BUFFER = 4096
ADDRESSES = 5  # of 127/8 that they come from: one may not hold as many connections
SEND_EVERY, TAKE_EVERY = 10.0, 1.0  # seconds


@dataclass(slots=True)
class Slow:
    """One of them. kind: what it is slow at: "headers", "body" or "reading". request: all that it would send, of which
    the first `at_once` bytes leave at once. limit: seconds after which it must have been cut off."""

    kind: str
    request: bytes
    at_once: int
    limit: float
    port: int
    number: int
    began: float = field(default_factory=time.monotonic)
    cut_after: float | None = None
    _socket: socket.socket | None = None
    _sent: int = 0
    _due: float = 0.0

    def open(self) -> None:
        """Raises OSError."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        self._socket.bind((f"127.0.1.{1 + self.number % ADDRESSES}", 0))
        self._socket.settimeout(10)
        self._socket.connect(("127.0.0.1", self.port))
        self._socket.sendall(self.request[: self.at_once])
        self._socket.setblocking(False)
        self._sent = self.at_once
        self.began = time.monotonic()
        self._due = self.began + SEND_EVERY

    def step(self) -> None:
        """Do what is due; note when it was cut off."""
        now = time.monotonic()
        connection = self._socket
        if connection is None or self.cut_after is not None:
            return
        if self._is_cut(connection):
            self.cut_after = now - self.began
            self.close()
        elif now >= self._due:
            with contextlib.suppress(OSError):
                if self.kind == "reading":
                    connection.recv(1)
                elif self._sent < len(self.request):
                    connection.send(self.request[self._sent : self._sent + 1])
                    self._sent += 1
            self._due = now + (TAKE_EVERY if self.kind == "reading" else SEND_EVERY)

    def _is_cut(self, connection: socket.socket) -> bool:
        """What waits in the buffer could still be read after the other side has gone, so the kernel is asked."""
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED

    @property
    def is_overdue(self) -> bool:
        return self.cut_after is None and time.monotonic() - self.began > self.limit

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
