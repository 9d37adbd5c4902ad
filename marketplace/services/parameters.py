"""A JSON Schema as the rows of a table: each property in words, what is inside of it below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from marketplace.services.forms import MAX_SHOWN_CHARACTERS, as_json, limits_of, place, resolved, type_words
from marketplace.services.schemas import Schema

MAX_LEVELS = 4
MAX_ROWS = 200


@dataclass(frozen=True, slots=True)
class Parameter:
    """A property. `path` is what it stands inside of: "messages[]." of `messages[].role`."""

    path: str
    name: str
    type: str
    required: bool
    description: str
    limits: tuple[str, ...]


def parameters_of(schema: Schema) -> list[Parameter]:
    """The properties of a schema and of what is in them, required ones first, else as the publisher wants."""
    root = resolved(schema, schema)
    return list(islice(_rows(*_inside(root, schema, ""), schema), MAX_ROWS))


def _rows(node: Schema, path: str, root: Schema, level: int = 1) -> Iterator[Parameter]:
    found = node.get("properties")
    required = node.get("required")
    needed = required if isinstance(required, list) else []
    rows = [(name, resolved(one, root)) for name, one in (found if isinstance(found, dict) else {}).items()]
    for name, one in sorted(rows, key=lambda row: (row[0] not in needed, place(row[1]))):
        yield Parameter(
            path, name, _type(one, root), name in needed, str(one.get("description", "")), tuple(_notes(one))
        )
        if level < MAX_LEVELS:
            yield from _rows(*_inside(one, root, f"{path}{name}"), root, level + 1)


def _inside(schema: Schema, root: Schema, path: str) -> tuple[Schema, str]:
    """What the properties within belong to, and their path: of a list, its items."""
    while isinstance(items := schema.get("items"), dict) and len(path) < 1000:
        schema, path = resolved(items, root), f"{path}[]"
    return schema, f"{path}." if path else ""


def _type(schema: Schema, root: Schema) -> str:
    words = type_words(schema)
    if words == "array" and isinstance(items := schema.get("items"), dict):
        return _("array of {}").format(type_words(resolved(items, root)))
    return words


def _notes(schema: Schema) -> Iterator[str]:
    yield from limits_of(schema)
    default: Any = schema.get("default")
    if default is not None:
        yield _("default {}").format(as_json(default)[:MAX_SHOWN_CHARACTERS])
