"""Identifiers: UUIDv7 primary keys, shown outside as TypeIDs (`mdl_01j…`)."""

import os
import threading
import time
from datetime import datetime
from uuid import UUID

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case
_VALUES = {digit: value for value, digit in enumerate(ALPHABET)}
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # two digits at a time: ids are written on every call
_SHIFTS = range(120, -1, -10)

_RANDOM_BITS = 74
_lock = threading.Lock()
_last_ms, _last_random = 0, 0


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)  # another thread may have held it at the moment of the fork


def uuid7() -> UUID:
    """A time-ordered UUID (RFC 9562), ascending within a process. Delete once we run on Python 3.14."""
    global _last_ms, _last_random
    with _lock:
        ms = time.time_ns() // 1_000_000
        if ms == _last_ms:  # method 2 of RFC 9562: a random step, so that a neighbour's id cannot be guessed
            _last_random += 1 + int.from_bytes(os.urandom(5))
        else:
            _last_ms = ms
            _last_random = int.from_bytes(os.urandom(10)) >> (81 - _RANDOM_BITS)  # one bit is left free for the steps
        random = _last_random
    value = ms << 80 | 0x7 << 76 | (random >> 62) << 64 | 0x2 << 62 | random & ((1 << 62) - 1)
    return UUID(int=value)


def first_uuid(at: datetime) -> UUID:
    """The lowest UUIDv7 of the instant's millisecond: rows made since then have a greater or equal id."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def encode(prefix: str, id: UUID) -> str:
    """`mdl`, UUID -> `mdl_` and 26 base32 digits."""
    number = id.int
    return f"{prefix}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def decode(prefix: str, text: str) -> UUID:
    """The inverse of `encode`. Raises ValueError on another prefix, a bad digit, upper case or more than 128 bits."""
    found, _, digits = text.rpartition("_")
    if found != prefix or len(digits) != 26 or digits[0] > "7":
        raise ValueError(f"not a {prefix} id")
    value = 0
    for digit in digits:
        if digit not in _VALUES:
            raise ValueError(f"not a {prefix} id")
        value = value << 5 | _VALUES[digit]
    return UUID(int=value)


def converter(prefix: str) -> type:
    """A URL converter: `<mdl:id>` in a path is a TypeID outside and a UUID inside; a bad one is a 404."""

    class Converter:
        regex = rf"{prefix}_[0-7][{ALPHABET}]{{25}}"

        def to_python(self, value: str) -> UUID:
            return decode(prefix, value)

        def to_url(self, value: UUID) -> str:
            return encode(prefix, value)

    return Converter
