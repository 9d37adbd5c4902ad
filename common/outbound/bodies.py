"""What the body of an answer may be: of a type that was asked for, and no more than it says.

An answer is asked for plain. A server that compresses it all the same is read, but by us, and within bounds: a client
that unpacks by itself can be filled with gigabytes by some kilobytes.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from common.outbound.errors import OutboundBadAnswer, OutboundTooLarge

MAX_RATIO = 32  # of what comes out to what went in; JSON full of repetitions has less than 20
FREE_BYTES = 256 * 1024  # of which nobody asks what went in

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's names for the three formats; -15 is the bare one
ZLIB_HEADER_BYTES = 2


class Inflater:
    """One compressed body: `feed` as it arrives, then `end`. Raises OutboundTooLarge and OutboundBadAnswer."""

    def __init__(self, encoding: str) -> None:
        """encoding: a key of WINDOWS."""
        self._window = WINDOWS[encoding]
        self._unpack: zlib._Decompress | None = None
        self._rest = b""  # too little to see what it is
        self._taken = self._given = 0

    def feed(self, data: bytes, room: int) -> bytes:
        """What `data` unpacks to. room: the most bytes that may come of it."""
        self._taken += len(data)
        data = self._rest + data
        if self._unpack is None:
            if len(data) < ZLIB_HEADER_BYTES:
                self._rest = data
                return b""
            self._rest = b""
            self._unpack = zlib.decompressobj(self._window if self._window != 15 or _has_header(data) else -15)
        allowed = min(room, max(FREE_BYTES, self._taken * MAX_RATIO) - self._given)
        try:
            found = self._unpack.decompress(data, allowed + 1)
        except zlib.error:
            raise OutboundBadAnswer("The answer is compressed in a way that cannot be read.") from None
        if len(found) > allowed:
            raise OutboundTooLarge("The answer is compressed, and unpacks to more than it may.")
        if self._unpack.unused_data:
            raise OutboundBadAnswer("The answer goes on after the end of what is compressed.")
        self._given += len(found)
        return found

    def end(self) -> None:
        """The body is complete; so what was compressed has to be."""
        if self._taken and (self._unpack is None or not self._unpack.eof):
            raise OutboundBadAnswer("The answer is compressed, and ends too early.")


def _has_header(data: bytes) -> bool:
    """Whether `deflate` is meant as the standard says, with zlib's header, or bare, as some servers send it."""
    return data[0] & 15 == 8 and int.from_bytes(data[:ZLIB_HEADER_BYTES]) % 31 == 0


@lru_cache(maxsize=256)
def is_accepted(content_type: str, accept: str) -> bool:
    """Whether an answer of this type was asked for by this `Accept`. One without a type passes: it is read as what
    was asked for, and leaves as that. `application/json` takes its relatives, such as `application/problem+json`."""
    given = _media(content_type)
    if not given:
        return True
    for part in accept.split(","):
        wanted = _media(part)
        if wanted in ("", "*/*", given) or (wanted.endswith("/*") and given.startswith(wanted[:-1])):
            return True
        if wanted == "application/json" and (given == "text/json" or given.endswith("+json")):
            return True
    return False


def _media(text: str) -> str:
    return text.partition(";")[0].strip().lower()
