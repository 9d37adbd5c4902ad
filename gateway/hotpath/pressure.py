"""How much of this process calls may take at a time: how many there are, and what their bodies weigh.

Whoever comes when it is full is told to come again in a second, which costs nothing but that answer. Bodies that are
small are not weighed: their number is bounded, and so is their sum.
"""

from __future__ import annotations

from common.problems import ServiceUnavailable

SMALL_BYTES = 64 * 1024
MIB = 1024 * 1024


class Pressure:
    """`calls` under way and the `bytes` of their large bodies. A body weighs until its call has ended."""

    __slots__ = ("_most_bytes", "_most_calls", "bytes", "calls")

    def __init__(self, *, most_calls: int, most_mib: int) -> None:
        self.calls = self.bytes = 0
        self._most_calls, self._most_bytes = most_calls, most_mib * MIB

    def require_place(self, taken: int) -> None:
        """Raises ServiceUnavailable when as many calls as are `taken` leave no place for another."""
        if taken >= self._most_calls:
            raise ServiceUnavailable("This process takes no more calls at the moment.", retry_after_seconds=1)

    def require_room(self, size: int) -> None:
        """Raises ServiceUnavailable when so many more bytes do not fit beside the large bodies that are here."""
        if self.bytes + size > self._most_bytes:
            raise ServiceUnavailable("Large requests fill the memory that is kept for them.", retry_after_seconds=1)

    def weigh(self, size: int, weighed: int) -> int:
        """Account for a large body, of which `weighed` bytes count already and `size` have come. Returns how many do.
        Raises ServiceUnavailable."""
        self.require_room(size - weighed)
        self.bytes += size - weighed
        return size

    def refuse_more(self) -> None:
        """The process is about to end: there is no place any more."""
        self._most_calls = 0
