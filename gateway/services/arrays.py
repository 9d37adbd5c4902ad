"""Arrays as PostgreSQL sends and receives them in binary, packed at once: a driver's lists take longer, and are of
another type for larger numbers.

The layout is that of `array_recv`: dimensions, whether there are NULLs (which it finds out for itself), type of the
elements, how many, lower bound, then each element behind its length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

# Types of elements, by PostgreSQL's numbers.
BOOLEAN, BIGINT, INTEGER, TEXT, UUIDS = 16, 20, 23, 25, 2950

_HEAD = struct.Struct(">iiiii").pack
_LENGTH = struct.Struct(">i").pack
_SHORT = struct.Struct(">ii").pack
_OF_UUID = _LENGTH(16)
NULL = _LENGTH(-1)
EMPTY = {kind: struct.pack(">iii", 0, 0, kind) for kind in (BOOLEAN, BIGINT, INTEGER, TEXT, UUIDS)}
_NO_DIMENSION = _LENGTH(0)


class Packed(bytes):
    """A parameter that is in PostgreSQL's binary form already, for the driver; of the type that is expected there."""


class _Ready(Dumper):
    format, oid = Format.BINARY, 0

    def dump(self, obj: Packed) -> Buffer:
        return obj


psycopg.adapters.register_dumper(Packed, _Ready)


def element(value: UUID | str | bool | None) -> bytes:
    """One value behind its length, for `array`."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return b"\0\0\0\x01\x01" if value else b"\0\0\0\x01\0"
    raw = value.bytes if isinstance(value, UUID) else value.encode()
    return _LENGTH(len(raw)) + raw


def array(kind: int, elements: Sequence[bytes]) -> bytes:
    """Of elements behind their lengths."""
    return _HEAD(1, 0, kind, len(elements), 1) + b"".join(elements) if elements else EMPTY[kind]


def uuids(values: Sequence[bytes]) -> bytes:
    """Of values of 16 bytes each."""
    if not values:
        return EMPTY[UUIDS]
    return _HEAD(1, 0, UUIDS, len(values), 1) + _OF_UUID + _OF_UUID.join(values)


def bigints(values: Sequence[int]) -> bytes:
    return _numbers(BIGINT, "q", 8, values)


def integers(values: Sequence[int | None]) -> bytes:
    if None in values:
        return array(INTEGER, [NULL if value is None else _SHORT(4, value) for value in values])
    return _numbers(INTEGER, "i", 4, values)  # type: ignore[arg-type]


def texts(values: Iterable[str]) -> bytes:
    return array(TEXT, [element(value) for value in values])


def _numbers(kind: int, letter: str, size: int, values: Sequence[int]) -> bytes:
    if not values:
        return EMPTY[kind]
    fields = [size] * (2 * len(values))
    fields[1::2] = values
    return _HEAD(1, 0, kind, len(values), 1) + struct.pack(">" + f"i{letter}" * len(values), *fields)


def is_empty(packed: bytes) -> bool:
    return packed.startswith(_NO_DIMENSION)


def read_integers(packed: bytes) -> list[int]:
    """Of an array without NULLs."""
    return [] if is_empty(packed) else list(struct.unpack(f">{len(packed) // 4 - 5}i", packed[20:])[1::2])


def read_uuids(packed: bytes) -> list[UUID]:
    """Of an array without NULLs."""
    return [UUID(bytes=packed[at : at + 16]) for at in range(24, len(packed), 20)]
