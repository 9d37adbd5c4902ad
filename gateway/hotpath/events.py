"""Server-sent events, as they come in."""

from __future__ import annotations

from common.outbound import OutboundBadAnswer

MAX_EVENT_BYTES = 1024 * 1024


class EventParser:
    """`feed` each piece of a stream, then `close`: the data of each event, on one line; all else in it is dropped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line whose end has not arrived
        self._data: list[bytes] = []
        self._size = 0  # of both

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that this piece ends. Raises OutboundBadAnswer for one without end."""
        is_one = piece.startswith(b"data: ") and piece.endswith(b"\n\n") and piece.count(b"\n") == 2
        if is_one and not self._size and b"\r" not in piece:  # which is how most of them come
            return [piece[6:-2]]
        found: list[bytes] = []
        self._size += len(piece)
        *lines, last = piece.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest = []
        for line in lines:
            line = line.strip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip().replace(b"\r", b" "))
            elif not line:
                if self._data:
                    found.append(b" ".join(self._data))
                self._data, self._size = [], len(last)
        self._rest.append(last)
        if self._size > MAX_EVENT_BYTES:
            raise OutboundBadAnswer("An event of the stream is too long.")
        return found

    def close(self) -> list[bytes]:
        """The event that was not ended, if there is one."""
        return [b" ".join(self._data)] if self._data else []
