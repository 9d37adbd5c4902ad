"""What a further version changes, and what of it breaks whom."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace.models import ModelVersion
from marketplace.services.differences import changes_between


def found(was: dict[str, Any], now: dict[str, Any], side: str = "input") -> list[tuple[str, str, bool]]:
    old, new = ModelVersion(), ModelVersion()
    setattr(old, f"{side}_schema", was)
    setattr(new, f"{side}_schema", now)
    changes = changes_between(old, new)
    assert {change.side for change in changes} <= {side}
    return [(change.pointer, change.kind, change.is_breaking) for change in changes]


def of(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
CASES = [
    ("nothing", of(a=TEXT), of(a=TEXT), [], []),
    ("words alone", of(a=TEXT), of(a={**TEXT, "description": "x"}), [], []),
    ("an optional field", of(a=TEXT), of(a=TEXT, b=TEXT), [("/b", "added", False)], [("/b", "added", False)]),
    ("a required field", of(), of("b", b=TEXT), [("/b", "added", True)], [("/b", "added", False)]),
    ("a field less", of(a=TEXT), of(), [("/a", "removed", False)], [("/a", "removed", True)]),
    ("now required", of(a=TEXT), of("a", a=TEXT), [("/a", "narrowed", True)], [("/a", "narrowed", False)]),
    ("now optional", of("a", a=TEXT), of(a=TEXT), [("/a", "widened", False)], [("/a", "widened", True)]),
    ("another type", of(a=TEXT), of(a=NUMBER), [("/a", "changed", True)], [("/a", "changed", True)]),
    ("a wider type", of(a={"type": "integer"}), of(a=NUMBER), [("/a", "widened", False)], [("/a", "widened", True)]),
    (
        "fewer choices",
        of(a={"enum": ["x", "y"]}),
        of(a={"enum": ["x"]}),
        [("/a", "narrowed", True)],
        [("/a", "narrowed", False)],
    ),
    (
        "a lower bound above",
        of(a={"maximum": 9}),
        of(a={"maximum": 5}),
        [("/a", "narrowed", True)],
        [("/a", "narrowed", False)],
    ),
    (
        "a lower bound below",
        of(a={"minLength": 5}),
        of(a={"minLength": 1}),
        [("/a", "widened", False)],
        [("/a", "widened", True)],
    ),
    (
        "within a list",
        of(a={"type": "array", "items": of(b=TEXT)}),
        of(a={"type": "array", "items": of(b=NUMBER)}),
        [("/a/items/b", "changed", True)],
        [("/a/items/b", "changed", True)],
    ),
    (
        "nothing beyond the schema",
        of(a=TEXT),
        {**of(a=TEXT), "additionalProperties": False},
        [("/", "narrowed", True)],
        [("/", "narrowed", False)],
    ),
    ("a pattern", of(a=TEXT), of(a={**TEXT, "pattern": "^x"}), [("/a", "narrowed", True)], [("/a", "narrowed", False)]),
]


@pytest.mark.parametrize(("was", "now", "sent", "read"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_change_is_named(was: dict[str, Any], now: dict[str, Any], sent: list[Any], read: list[Any]):
    assert found(was, now) == sent
    assert found(was, now, "output") == read


def test_what_breaks_comes_first_and_names_are_escaped():
    changes = found(of(a=TEXT), of("z/z", **{"a": TEXT, "b": TEXT, "z/z": TEXT}))
    assert changes == [("/z~1z", "added", True), ("/b", "added", False)]
