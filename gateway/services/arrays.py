"""Arrays as PostgreSQL reads them in binary, packed at once: a driver's lists take longer, and are of another type for
larger numbers.

The layout is that of `array_recv`: dimensions, whether there are NULLs, type of the elements, how many, lower bound,
then each element behind its length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = struct.Struct(">iiiii").pack
_EMPTY = struct.Struct(">iii").pack
_LENGTH = struct.Struct(">i").pack
_NULL = _LENGTH(-1)


class Packed(bytes):
    """An array that is ready to be sent; of the subclass that says its type, by PostgreSQL's numbers."""

    element: ClassVar[int]
    array: ClassVar[int]


Array = TypeVar("Array", bound=Packed)


class UUIDs(Packed):
    element, array = 2950, 2951


class Bigints(Packed):
    element, array = 20, 1016


class Integers(Packed):
    element, array = 23, 1007


class Booleans(Packed):
    element, array = 16, 1000


class Texts(Packed):
    element, array = 25, 1009


def uuids(values: Iterable[UUID | None]) -> UUIDs:
    return _pack(UUIDs, [_NULL if v is None else b"\0\0\0\x10" + v.bytes for v in values])


def bigints(values: Sequence[int]) -> Bigints:
    return _numbers(Bigints, "q", 8, values)


def integers(values: Sequence[int | None]) -> Integers:
    if None in values:
        return _pack(Integers, [_NULL if v is None else struct.pack(">ii", 4, v) for v in values])
    return _numbers(Integers, "i", 4, values)  # type: ignore[arg-type]


def booleans(values: Iterable[bool]) -> Booleans:
    return _pack(Booleans, [b"\0\0\0\x01\x01" if v else b"\0\0\0\x01\0" for v in values])


def texts(values: Iterable[str]) -> Texts:
    encoded = [v.encode() for v in values]
    return _pack(Texts, [_LENGTH(len(v)) + v for v in encoded])


def _pack(kind: type[Array], elements: list[bytes]) -> Array:
    if not elements:
        return kind(_EMPTY(0, 0, kind.element))
    return kind(_HEAD(1, int(_NULL in elements), kind.element, len(elements), 1) + b"".join(elements))


def _numbers(kind: type[Array], letter: str, size: int, values: Sequence[int]) -> Array:
    if not values:
        return kind(_EMPTY(0, 0, kind.element))
    fields = [size] * (2 * len(values))
    fields[1::2] = values
    packed = struct.pack(">" + f"i{letter}" * len(values), *fields)
    return kind(_HEAD(1, 0, kind.element, len(values), 1) + packed)


class _Ready(Dumper):
    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer:
        return obj


for _kind in (UUIDs, Bigints, Integers, Booleans, Texts):
    _dumper = type(f"{_kind.__name__}Dumper", (_Ready,), {"oid": _kind.array})
    psycopg.adapters.register_dumper(_kind, _dumper)
