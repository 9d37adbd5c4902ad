"""JSON from strangers: what PostgreSQL cannot store, Python cannot bear or two readers may read differently is refused.

Depth and the number of values are counted before the parser recurses or allocates; time stays linear in the input.
"""

import json
import re
import threading
from collections.abc import Iterable
from itertools import accumulate
from json.scanner import make_scanner
from math import isfinite
from typing import Any, NoReturn

MAX_VALUES = 200_000
MAX_MEMBERS = 50_000  # of all objects together: a name costs ten times what a plain value does
MAX_NUMBER_DIGITS = 64

# Escapes are looked for where every `\\` and `\"` has been blanked, so a backslash found here does start an escape.
_LONE_HIGH = re.compile(rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])", re.DOTALL)
_LONE_LOW = re.compile(rb"\\u[dD][c-fC-F](?<!\\u[dD][89abAB]..\\u[dD].)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_BEFORE_STRINGS = (b"[", b"{", b",", b":", b" ", b"\t", b"\r", b"\n")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class UnsafeJSON(ValueError):
    """Refused input. `pointer` (RFC 6901) says where, as far as it is known; `detail` is for the sender."""

    def __init__(self, code: str, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.pointer, self.detail = code, pointer, detail


# id of a value -> the value (kept alive, so that the id stays its own), the code and the detail of its fault
Faults = dict[int, tuple[Any, str, str]]


def loads(raw: bytes, *, max_bytes: int, max_depth: int = 32, max_values: int = MAX_VALUES) -> Any:
    """The value of a JSON text.

    Raises UnsafeJSON with code `too_large`, `invalid_json`, `too_deep`, `too_many_values`, `nul`, `surrogate`,
    `number_out_of_range` or `duplicate_key`.
    """
    if len(raw) > max_bytes:
        raise UnsafeJSON("too_large", "", f"The body is larger than {max_bytes} bytes.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UnsafeJSON("invalid_json", "", f"Byte {error.start} is not valid UTF-8.") from None
    is_escaped = b"\\" in raw
    plain = raw.replace(rb"\\", b"__").replace(rb"\"", b"__") if is_escaped else raw
    _check_size(plain, max_depth, max_values)

    try:
        tree, faults = _reader.read(text)
    except json.JSONDecodeError as error:
        if "\0" in text:
            raise UnsafeJSON("nul", "", "NUL characters are not allowed.") from None
        raise UnsafeJSON("invalid_json", "", f"{error.msg} at line {error.lineno} column {error.colno}.") from None
    if faults or (is_escaped and (rb"\u0000" in plain or _LONE_HIGH.search(plain) or _LONE_LOW.search(plain))):
        _raise_first(tree, faults)
    return tree


def _check_size(plain: bytes, max_depth: int, max_values: int) -> None:
    if len(plain) <= max_values and plain.count(b"[") + plain.count(b"{") <= max_depth:
        return  # as nearly all are: it cannot be deeper than it has brackets, nor hold more values than bytes
    if plain.count(b'"') > 4 * max_values:  # two quotes a string, a name and a string a member
        raise _too_many(max_values)
    if _least_members(plain) > MAX_MEMBERS:
        raise _too_many_members()
    outside = b"".join(plain.split(b'"')[::2])  # everything but the strings
    if outside.count(b",") + outside.count(b"[") + outside.count(b"{") > max_values:
        raise _too_many(max_values)
    if outside.count(b":") > MAX_MEMBERS:
        raise _too_many_members()
    brackets = outside.translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * max_values:
        raise _too_many(max_values)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > max_depth:
        raise UnsafeJSON("too_deep", "", f"Nested deeper than {max_depth} levels.")


def _least_members(plain: bytes) -> int:
    """So many there are at least: what ends a string before a colon, without what may begin one that starts with it."""
    found = plain.count(b'":')
    return found if found <= MAX_MEMBERS else found - sum(plain.count(before + b'":') for before in _BEFORE_STRINGS)


def _too_many_members() -> UnsafeJSON:
    return UnsafeJSON("too_many_values", "", f"More than {MAX_MEMBERS} members.")


def _too_many(max_values: int) -> UnsafeJSON:
    return UnsafeJSON("too_many_values", "", f"More than {max_values} values.")


class _Reader(threading.local):
    """The parser of a thread, made once. What it may not pass on it notes in `faults`, by the id of what stands for it
    in the tree."""

    def __init__(self) -> None:
        self.faults: Faults = {}
        self._too_long, self._not_finite, self._not_json = object(), object(), object()
        decoder = json.JSONDecoder(
            parse_int=self._int,
            parse_float=self._float,
            parse_constant=self._constant,
            object_pairs_hook=self._object,
        )
        self._decode = decoder.decode
        self._scan = make_scanner(decoder)  # type: ignore[arg-type]  # typeshed takes it for a class

    def read(self, text: str) -> tuple[Any, Faults]:
        """Raises JSONDecodeError."""
        if self.faults:
            self.faults = {}
        try:
            tree, end = self._scan(text, 0)  # without the two searches for space around it
            if end == len(text):
                return tree, self.faults
        except StopIteration:  # space before it, or nothing that could be one
            pass
        self.faults = {}
        return self._decode(text), self.faults

    def _refuse(self, value: Any, code: str, detail: str) -> Any:
        self.faults[id(value)] = value, code, detail
        return value

    def _int(self, digits: str) -> Any:
        if len(digits) > MAX_NUMBER_DIGITS:
            detail = f"A number has more than {MAX_NUMBER_DIGITS} digits."
            return self._refuse(self._too_long, "number_out_of_range", detail)
        return int(digits)

    def _float(self, digits: str) -> Any:
        if len(digits) > MAX_NUMBER_DIGITS:
            detail = f"A number has more than {MAX_NUMBER_DIGITS} digits."
            return self._refuse(self._too_long, "number_out_of_range", detail)
        number = float(digits)
        if not isfinite(number):
            return self._refuse(self._not_finite, "number_out_of_range", "A number is too large.")
        return number

    def _constant(self, name: str) -> Any:
        return self._refuse(self._not_json, "number_out_of_range", f"{name} is not JSON.")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            self._refuse(members, "duplicate_key", "A member name is given twice.")
        return members


_reader = _Reader()


def _raise_first(tree: Any, faults: Faults) -> NoReturn:
    """Something is wrong: find the first place and say it."""
    # A faulty value that a later member replaced is not in the tree; then the object that named it twice is the fault.
    path, fault = _find([tree], faults) or ([0], UnsafeJSON("invalid_json", "", "The body is not valid JSON."))
    pointer = "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path[1:])
    raise UnsafeJSON(fault.code, pointer, fault.detail)


def _find(value: Any, faults: Faults) -> tuple[list[Any], UnsafeJSON] | None:
    """The first fault within, and the path to it. Recursion is bounded: the depth has been checked."""
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(key, str) and (fault := _string_fault(key)):
            return [], fault
        if isinstance(inner, str):
            if fault := _string_fault(inner):
                return [key], fault
        elif id(inner) in faults:
            _, code, detail = faults[id(inner)]
            return [key], UnsafeJSON(code, "", detail)
        elif isinstance(inner, dict | list) and (found := _find(inner, faults)):
            return [key, *found[0]], found[1]
    return None


def _string_fault(string: str) -> UnsafeJSON | None:
    if "\0" in string:
        return UnsafeJSON("nul", "", "NUL characters are not allowed.")
    if not string.isascii() and _SURROGATE.search(string):
        return UnsafeJSON("surrogate", "", "A surrogate escape stands alone.")
    return None
