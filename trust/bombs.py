"""T32's: JSON texts, JSON Schemas and patterns that cost whoever reads them more than whoever sends them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

DEPTH = 100_000
MAX_CALLED = 50_000  # characters that a pattern is tried on
SCHEMA_BYTES = 60_000  # a little less than a schema may have

#: Of at most so many bytes.
Text = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Bomb:
    """A JSON text, made for a door that reads `room` bytes. is_refused: no door may take it."""

    make: Text
    is_refused: bool = False


def _many(one: bytes, *, before: bytes = b"[", after: bytes = b"0]") -> Text:
    """As many as there is room for."""
    return lambda room: before + one * ((room - len(before) - len(after)) // len(one)) + after


def _keys(most: int) -> Text:
    """Members with names of their own."""

    def make(room: int) -> bytes:
        return b"{%s}" % b",".join(b'"%x":1' % number for number in range(min(most, room // 10)))

    return make


def _whole(text: bytes) -> Text:
    return lambda room: text


#: By what each is.
TEXTS: Mapping[str, Bomb] = {
    "arrays in arrays": Bomb(_whole(b"[" * DEPTH + b"]" * DEPTH), True),
    "objects in objects": Bomb(_whole(b'{"a":' * DEPTH + b"1" + b"}" * DEPTH), True),
    "arrays in objects in arrays": Bomb(_whole(b'[{"a":' * DEPTH + b"1" + b"}]" * DEPTH), True),
    "arrays that are never closed": Bomb(_many(b"[", after=b""), True),
    "what was never opened": Bomb(_many(b"]", after=b""), True),
    "a number of ten megabytes": Bomb(_whole(b"1" * 10_000_000), True),
    "a number as long as there is room": Bomb(_many(b"7", after=b"]"), True),
    "a fraction as long as there is room": Bomb(_many(b"7", before=b"[0.", after=b"]"), True),
    "an exponent as long as there is room": Bomb(_many(b"9", before=b"[1e", after=b"]"), True),
    "a number of 5,000 digits": Bomb(_whole(b"[-%s]" % (b"9" * 5_000)), True),
    "long numbers": Bomb(_many(b"9" * 65 + b","), True),
    "infinite numbers": Bomb(_many(b"1e999,"), True),
    "what is no number": Bomb(_many(b"NaN,"), True),
    "a name given twice": Bomb(_whole(b'{"text":"a","text":"b"}'), True),
    "a name given again and again": Bomb(_many(b'"a":1,', before=b"{", after=b'"b":1}'), True),
    "objects with a name given twice": Bomb(_many(b'{"":0,"":0},'), True),
    "a million names": Bomb(_keys(1_000_000), False),
    "names as many as a parser bears": Bomb(_keys(49_000)),
    "whole numbers": Bomb(_many(b"1,")),
    "fractions": Bomb(_many(b"1.5,")),
    "empty strings": Bomb(_many(b'"",')),
    "empty arrays": Bomb(_many(b"[],")),
    "empty objects": Bomb(_many(b"{},")),
    "objects with a member": Bomb(_many(b'{"":0},')),
    "one long string": Bomb(_many(b"a", before=b'"', after=b'"')),
    "one long name": Bomb(_many(b"a", before=b'{"', after=b'":1}')),
    "escapes": Bomb(_many(rb"\n", before=b'"', after=b'"')),
    "escaped pairs": Bomb(_many(rb"\ud83d\ude00", before=b'"', after=b'"')),
    "half pairs": Bomb(_many(rb"\ud83d", before=b'"', after=b'"'), True),
    "escaped NULs": Bomb(_many(rb"\u0000", before=b'"', after=b'"'), True),
    "backslashes": Bomb(_many(rb"\\", before=b'"', after=b'"')),
    "a string that is never closed": Bomb(_many(b"a", before=b'"', after=b""), True),
    "quotes": Bomb(_many(b'"', before=b"", after=b""), True),
    "space": Bomb(_many(b" ", before=b"", after=b"{}")),
    "bytes that are no text": Bomb(_many(b"\xff", before=b'"', after=b'"'), True),
    "sixteen bits a letter": Bomb(lambda room: ('{"text":"%s"}' % ("a" * (room // 3))).encode("utf-16"), True),
}


# --- Patterns ---------------------------------------------------------------------------------------------------------

_ATOMS = (
    "a",
    "b",
    "ab",
    "[a-z]",
    r"\w",
    r"\d",
    ".",
    "(a|aa)",
    "(a|b|ab)",
    r"[^\s]",
    "(a?)",
    "(aa|a)",
    "é",
    "(ab)",
    "(a|b)",
)
_SHAPES = (
    *("^({}+)+$", "^({}*)*$", "^({0}|{0}{0})+$", "^({0}|{0})*$", "({}+)*[0-9]$", "(.*{}){{12}}$", "^(({})*)*$"),
    *("^({0}|{0}?)+$", "^({}+){{2,}}$", "({}*)*!!$", "^({}+)+({}+)+$", "^(.*)*{}$", r"^({}+\s?)*$", "^((({}+)+)+)+$"),
    *("^(?=({}+))!$", r"^({})+\1+$"),
)


def _is_one(pattern: str) -> bool:
    with suppress(re.error):
        return bool(re.compile(pattern))
    return False


#: 200 that a backtracking matcher takes for ever to try, or that only such a one can try at all.
PATTERNS = tuple(filter(_is_one, (shape.format(*[atom] * 2) for shape, atom in product(_SHAPES, _ATOMS))))[-200:]


def hostile_to(pattern: str) -> str:
    """Nearly what fits: every way of it is tried before it is given up."""
    letters = next((one for sign, one in ((r"\d", "1"), ("é", "é"), ("b+", "b"), ("(b", "b")) if sign in pattern), "a")
    return letters * MAX_CALLED + "!"


# --- Schemas ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SchemaBomb:
    """make(url): a schema, or JSON text of one. `url` is one where somebody counts who comes. input: what is sent to a
    model that has it, if it is accepted. is_refused: it may not be."""

    make: Callable[[str], Any]
    is_refused: bool = False
    input: Callable[[], Any] = lambda: {"text": "a" * MAX_CALLED + "!"}


def _circle_through(keyword: str) -> SchemaBomb:
    return SchemaBomb(lambda url: _circle(keyword), True)


def _text(**more: Any) -> dict[str, Any]:
    """The schema of a body with one field `text`."""
    return {"type": "object", "properties": {"text": more}}


def _refer(reference: Callable[[str], str]) -> SchemaBomb:
    return SchemaBomb(lambda url: _text(**{"$ref": reference(url)}), True)


def _doubling(levels: int) -> dict[str, Any]:
    """Each asks the next one twice."""
    steps = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": {**steps, f"d{levels}": {"minProperties": 1}}}


def _circle(keyword: str) -> dict[str, Any]:
    inner: Any = {"$ref": "#/$defs/a"}
    return _text(**{"$ref": "#/$defs/a"}) | {"$defs": {"a": {keyword: [inner] if keyword.endswith("Of") else inner}}}


def _filled(one: Callable[[int], Any], size: int) -> list[Any]:
    """As many as fit into a schema."""
    return [one(number) for number in range(SCHEMA_BYTES // size)]


SCHEMAS: Mapping[str, SchemaBomb] = {
    "a schema 100,000 deep": SchemaBomb(lambda url: b'{"not":' * DEPTH + b"{}" + b"}" * DEPTH, True),
    "a schema 90 deep": SchemaBomb(lambda url: b'{"not":' * 90 + b"{}" + b"}" * 90, True),
    "a million values to choose from": SchemaBomb(lambda url: b'{"enum":[%s0]}' % (b"1," * 1_000_000), True),
    "values to choose from, as many as fit": SchemaBomb(lambda url: _text(enum=_filled(lambda n: f"{n:04}", 8))),
    "objects to choose from": SchemaBomb(lambda url: _text(enum=_filled(lambda n: {"a": [{"b": n}]}, 24))),
    "one deep value": SchemaBomb(lambda url: b'{"const":' + b"[" * DEPTH + b"]" * DEPTH + b"}", True),
    "a million fields": SchemaBomb(
        lambda url: b'{"properties":{%s}}' % b",".join(b'"%x":1' % n for n in range(10**6)), True
    ),
    "fields as many as fit": SchemaBomb(
        lambda url: {"type": "object", "properties": {f"{n:04}": {} for n in range(4_500)}},
        input=lambda: {f"{n:04}": n for n in range(4_500)},
    ),
    "required fields": SchemaBomb(lambda url: _text() | {"required": _filled(lambda n: f"f{n:04}", 10)}),
    "a reference to a server": _refer(lambda url: f"{url}/schema.json"),
    "a reference to a part of a server's": _refer(lambda url: f"{url}/schema.json#/$defs/a"),
    "a reference without a scheme": _refer(lambda url: url.partition(":")[2]),
    "a reference to a file": _refer(lambda url: "file:///etc/passwd"),
    "a reference to another schema": _refer(lambda url: "other.json#/a"),
    "a dialect of a server": SchemaBomb(lambda url: _text() | {"$schema": f"{url}/dialect"}, True),
    "a vocabulary of a server": SchemaBomb(lambda url: _text() | {"$vocabulary": {f"{url}/words": True}}, True),
    "a name on a server, and a reference within": SchemaBomb(
        lambda url: {**_text(**{"$ref": "#/$defs/a"}), "$id": f"{url}/schema.json", "$defs": {"a": {"type": "string"}}}
    ),
    "an inner name on a server": SchemaBomb(lambda url: _text(**{"$id": f"{url}/inner", "$ref": "#/a"}), True),
    "a reference to itself": SchemaBomb(lambda url: {"type": "object", "allOf": [{"$ref": "#"}]}, True),
    **{f"a circle through {one}": _circle_through(one) for one in ("anyOf", "if", "not")},
    "a circle of dynamic references": SchemaBomb(
        lambda url: _text(**{"$dynamicAnchor": "a", "not": {"$dynamicRef": "#a"}}), True
    ),
    "a long way of references": SchemaBomb(
        lambda url: (
            _text(**{"$ref": "#/$defs/0"})
            | {"$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(1_000)} | {"1000": {}}}
        ),
        True,
    ),
    "doublings too many to follow": SchemaBomb(lambda url: _doubling(22), True, input=lambda: {"text": "a"}),
    "ten doublings": SchemaBomb(lambda url: _doubling(10), input=lambda: {f"{n}": n for n in range(1_000)}),
    "patterns as many as fit": SchemaBomb(
        lambda url: _text(allOf=[{"pattern": f"^(a|b|ab)*{n}$"} for n in range(1_500)])
    ),
    "a pattern of a million repetitions": SchemaBomb(lambda url: _text(pattern="(a{1,1000}){1,1000}$"), True),
    "a pattern of classes": SchemaBomb(lambda url: _text(pattern=r"(\pL|\d){1,500}$"), True),
    "patterns of names": SchemaBomb(
        lambda url: {"type": "object", "patternProperties": {f"^(a+)+{n}$": {} for n in range(1_000)}},
        input=lambda: {f"{'a' * 100}{n}": n for n in range(200)},
    ),
    "no two alike": SchemaBomb(
        lambda url: _text(type="array", uniqueItems=True), input=lambda: {"text": [{"a": n} for n in range(20_000)]}
    ),
    "some that fit": SchemaBomb(
        lambda url: _text(contains={"allOf": [{"enum": ["b", n]} for n in range(1_000)]}),
        input=lambda: {"text": ["a"] * 5_000},
    ),
    "what nothing else has looked at": SchemaBomb(
        lambda url: (
            {"type": "object", "unevaluatedProperties": False}
            | {"anyOf": [{"properties": {f"f{n}": {"type": "string"}}} for n in range(1_000)]}
        ),
        input=lambda: {f"f{n}": n for n in range(1_000)},
    ),
    "numbers beyond numbers": SchemaBomb(
        lambda url: _text(multipleOf=1e-300, maxLength=10**60, minimum=-(10**60)), input=lambda: {"text": 1e300}
    ),
}


def schema_text(made: Any) -> bytes:
    return made if isinstance(made, bytes) else json.dumps(made).encode()
