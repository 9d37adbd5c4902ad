"""What changed between two versions of a schema, field by field, and whether that breaks callers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.problems import escape_pointer
from marketplace.models import ModelVersion
from marketplace.services.schemas import Schema

Side = Literal["input", "output"]
MAX_DEPTH = 12
MAX_CHANGES = 200
#: Bounds that narrow what fits when they rise, and those that do when they fall.
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
WORDLESS = ("title", "description", "examples", "default", "$comment", "x-order")
OTHERS = ("pattern", "format", "const", "multipleOf", "uniqueItems", "anyOf", "oneOf", "allOf", "not", "$ref")


@dataclass(frozen=True, slots=True)
class Change:
    """One field's change. `kind`: added, removed, narrowed, widened or changed. `was`, `now`: as JSON, "" for none.

    is_breaking: a call that was right before may be refused now, or an answer that was read before may not be.
    """

    side: Side
    pointer: str
    kind: str
    was: str
    now: str
    is_breaking: bool


def changes_between(old: ModelVersion, new: ModelVersion) -> list[Change]:
    """Those of the input, then those of the output; at most `MAX_CHANGES` of each, breaking ones first."""
    found: list[Change] = []
    for side in ("input", "output"):
        was, now = getattr(old, f"{side}_schema"), getattr(new, f"{side}_schema")
        changes = list(_compare("input" if side == "input" else "output", was, now, "", 0))
        found += sorted(changes, key=lambda change: not change.is_breaking)[:MAX_CHANGES]
    return found


def _compare(side: Side, was: Any, now: Any, pointer: str, depth: int) -> Iterator[Change]:
    if was == now or depth > MAX_DEPTH:
        return
    if not isinstance(was, dict) or not isinstance(now, dict):
        yield Change(side, pointer or "/", "changed", _shown(was), _shown(now), True)
        return
    yield from _properties(side, was, now, pointer, depth)
    yield from _types(side, was, now, pointer)
    yield from _bounds(side, was, now, pointer)
    for name in OTHERS:
        if was.get(name) != now.get(name):
            yield _change(side, pointer, name, was, now, "narrowed" if name not in was else "widened", is_sure=False)
    for name in ("items", "additionalProperties"):
        if was.get(name, True) != now.get(name, True):
            inner, outer = was.get(name, True), now.get(name, True)
            if isinstance(inner, dict) and isinstance(outer, dict):
                yield from _compare(side, inner, outer, f"{pointer}/{name}", depth + 1)
            else:
                kind = "widened" if outer is True else "narrowed"
                yield _change(side, pointer, name, was, now, kind, is_sure=True)


def _properties(side: Side, was: Schema, now: Schema, pointer: str, depth: int) -> Iterator[Change]:
    before, after = _map(was), _map(now)
    needed_before, needed_after = set(was.get("required") or ()), set(now.get("required") or ())
    for name in [*before, *(name for name in after if name not in before)]:
        path = f"{pointer}/{escape_pointer(name)}"
        if name not in after:
            # What is sent beyond the schema may be refused; what was answered is not there any more.
            breaks = side == "output" or now.get("additionalProperties", True) is False
            yield Change(side, path, "removed", _shown(before[name]), "", breaks)
        elif name not in before:
            is_needed = name in needed_after
            yield Change(side, path, "added", "", _shown(after[name]), side == "input" and is_needed)
        else:
            if (name in needed_before) != (name in needed_after):
                is_needed = name in needed_after
                breaks = is_needed if side == "input" else not is_needed
                words = ("optional", "required") if is_needed else ("required", "optional")
                yield Change(side, path, "narrowed" if is_needed else "widened", *words, breaks)
            yield from _compare(side, before[name], after[name], path, depth + 1)


def _types(side: Side, was: Schema, now: Schema, pointer: str) -> Iterator[Change]:
    for name in ("type", "enum"):
        if was.get(name) == now.get(name):
            continue
        before, after = _set(was.get(name), name), _set(now.get(name), name)
        is_wider = after is None or (before is not None and before < after)
        is_narrower = before is None or (after is not None and after < before)
        kind = "widened" if is_wider else "narrowed" if is_narrower else "changed"
        yield _change(side, pointer, name, was, now, kind, is_sure=True)


def _bounds(side: Side, was: Schema, now: Schema, pointer: str) -> Iterator[Change]:
    for names, rises in ((LOWER, True), (UPPER, False)):
        for name in names:
            before, after = was.get(name), now.get(name)
            if before != after:
                is_narrower = before is None or (after is not None and (after > before) == rises)
                yield _change(side, pointer, name, was, now, "narrowed" if is_narrower else "widened", is_sure=True)


def _change(side: Side, pointer: str, name: str, was: Schema, now: Schema, kind: str, *, is_sure: bool) -> Change:
    """Of a keyword. Narrowing breaks those who send, widening those who read; what is unclear is said to break both."""
    before, after = (f"{name}: {_shown(one[name])}" if name in one else "" for one in (was, now))
    if not is_sure:
        is_breaking = bool(before) or side == "input"
        kind = kind if not (before and after) else "changed"
    else:
        is_breaking = kind == "changed" or (kind == "narrowed") == (side == "input")
    return Change(side, pointer or "/", kind, before, after, is_breaking)


def _set(value: Any, name: str) -> set[str] | None:
    """None: anything fits. A number takes whole ones."""
    if value is None:
        return None
    found = {_shown(one) for one in (value if isinstance(value, list) else [value])}
    return found | {'"integer"'} if name == "type" and '"number"' in found else found


def _map(schema: Schema) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = {name: inner for name, inner in value.items() if name not in WORDLESS}
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"
