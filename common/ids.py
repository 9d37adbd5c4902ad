"""Identifiers: UUIDv7 primary keys, shown outside as TypeIDs (`mdl_01j…`)."""

import os
import re
import struct
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID, SafeUUID

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case
_DIGITS = re.compile(f"[0-7][{ALPHABET}]{{25}}")
_PYTHON_DIGITS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # two digits at a time: ids are written on every call

_LOW_40, _LOW_62 = (1 << 40) - 1, (1 << 62) - 1
_set_int, _set_safe = (vars(UUID)[name].__set__ for name in ("int", "is_safe"))


def _random_words() -> Iterator[int]:
    """64 random bits each, many from one visit to the kernel."""
    while True:
        yield from struct.unpack("<256Q", os.urandom(2048))


_lock = threading.Lock()
_words = _random_words()
_last_ms, _last_random = 0, 0


def _begin_anew() -> None:
    """In a forked child: another thread may have held the lock, and the parent draws the same words."""
    global _lock, _words
    _lock, _words = threading.Lock(), _random_words()


os.register_at_fork(after_in_child=_begin_anew)


def uuid7() -> UUID:
    """A time-ordered UUID (RFC 9562), ascending within a process. Delete once we run on Python 3.14."""
    global _last_ms, _last_random
    with _lock:
        ms = time.time_ns() // 1_000_000
        if ms == _last_ms:  # method 2 of RFC 9562: a random step, so that a neighbour's id cannot be guessed
            _last_random = random = _last_random + 1 + (next(_words) >> 24)
        else:
            _last_ms = ms
            _last_random = random = next(_words) << 9 | next(_words) >> 55  # of 74 bits one is left free for the steps
    return _uuid((ms << 16 | 0x7000 | random >> 62) << 64 | 0x8000_0000_0000_0000 | random & _LOW_62)


def _uuid(value: int) -> UUID:
    """UUID(int=value) in a third of the time."""
    id = object.__new__(UUID)
    _set_int(id, value)
    _set_safe(id, SafeUUID.unknown)
    return id


def first_uuid(at: datetime) -> UUID:
    """The lowest UUIDv7 of the instant's millisecond: rows made since then have a greater or equal id."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def encode(prefix: str, id: UUID) -> str:
    """`mdl`, UUID -> `mdl_` and 26 base32 digits."""
    number, pairs = id.int, _PAIRS
    high, middle, low = number >> 80, number >> 40 & _LOW_40, number & _LOW_40  # small numbers are shifted faster
    return (
        f"{prefix}_{pairs[high >> 40]}{pairs[high >> 30 & 1023]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}{pairs[middle >> 30]}{pairs[middle >> 20 & 1023]}{pairs[middle >> 10 & 1023]}"
        f"{pairs[middle & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def decode(prefix: str, text: str) -> UUID:
    """The inverse of `encode`. Raises ValueError on another prefix, a bad digit, upper case or more than 128 bits."""
    found, _, digits = text.rpartition("_")
    if found != prefix or _DIGITS.fullmatch(digits) is None:
        raise ValueError(f"not a {prefix} id")
    return _uuid(int(digits.translate(_PYTHON_DIGITS), 32))


def converter(prefix: str) -> type:
    """A URL converter: `<mdl:id>` in a path is a TypeID outside and a UUID inside; a bad one is a 404."""

    class Converter:
        regex = f"{prefix}_{_DIGITS.pattern}"

        def to_python(self, value: str) -> UUID:
            return decode(prefix, value)

        def to_url(self, value: UUID) -> str:
            return encode(prefix, value)

    return Converter
