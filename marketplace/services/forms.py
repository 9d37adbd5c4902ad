"""What a form or a table can make of a model's JSON Schema: its properties, their kinds, an example.

`controls` shows them, `inputs` reads what was sent. A schema that is no plain object stays one piece of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from marketplace.services.schemas import MAX_DEPTH, Schema, resolve

Kind = Literal[
    "text", "long_text", "secret", "number", "integer", "boolean", "choice", "radio", "fixed", "file", "lines",
    "message", "json",
]  # fmt: skip

LONG_TEXT_FROM = 120  # characters that must fit
MAX_RADIOS = 3
MAX_SHOWN, MAX_SHOWN_CHARACTERS = 8, 40
FILE_FORMATS = frozenset({"data-url", "data-uri", "binary", "byte"})
SHORT_FORMATS = frozenset(
    {"uri", "iri", "uri-reference", "email", "idn-email", "date", "time", "date-time", "duration", "uuid", "hostname",
     "ipv4", "ipv6"}
)  # fmt: skip
SKIPPED = ("stream", "stream_options", "model")  # of chat and embeddings: the gateway's business
TEXTS: frozenset[Kind] = frozenset({"text", "long_text", "secret"})


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an input. `schema` has its references resolved."""

    name: str
    schema: Schema
    kind: Kind
    required: bool = False
    is_nullable: bool = False

    @property
    def options(self) -> list[Any]:
        """The values of a choice."""
        return _values(self.schema) or [True, False]

    @property
    def has_system(self) -> bool:
        """Whether a conversation may begin with a word from the system."""
        items = self.schema.get("items")
        role = _properties(items).get("role") if isinstance(items, dict) else None
        roles = role.get("enum") if isinstance(role, dict) else None
        return self.kind == "message" and (not isinstance(roles, list) or "system" in roles)


def properties_of(schema: Schema) -> list[Property] | None:
    """What a form has a control for, required ones first, else as the publisher wants. None: it is one piece of JSON.

    The gateway's own business is left out, unless it is required.
    """
    root = resolved(schema, schema)
    if not (found := _properties(root)) or any(name in root for name in ("oneOf", "anyOf")):
        return None
    needed = _required(root)
    rows = [_property(name, inner, schema, name in needed) for name, inner in found.items()]
    rows = [row for row in rows if row.name not in SKIPPED or row.required]
    return sorted(rows, key=lambda row: (not row.required, place(row.schema)))


def place(schema: Schema) -> float:
    """Where the publisher wants the property among the others: `x-order`. The database keeps no order of its own."""
    found = schema.get("x-order")
    return found if isinstance(found, int | float) else float("inf")


def resolved(schema: Any, root: Schema, depth: int = 0) -> Schema:
    """The schema with its reference followed, its `allOf` joined and an alternative to null laid open."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    found = dict(schema)
    if isinstance(reference := found.pop("$ref", None), str):
        found = _joined(resolved(resolve(root, reference), root, depth + 1), found)
    for part in found.pop("allOf", None) or ():
        found = _joined(found, resolved(part, root, depth + 1))
    for keyword in ("anyOf", "oneOf"):
        branches = [resolved(branch, root, depth + 1) for branch in found.get(keyword) or ()]
        if all(branch.keys() == {"required"} for branch in branches):
            found.pop(keyword, None)  # "one of these is needed" changes no control
            continue
        others = [branch for branch in branches if branch.get("type") != "null"]
        values = [value for branch in others for value in _values(branch)]
        if others and all(_values(branch) for branch in others):
            del found[keyword]
            found |= {"enum": values + [None] * (len(others) < len(branches))}
        elif len(others) == 1:
            del found[keyword]
            types = others[0].get("type", [])
            types = types if isinstance(types, list) else [types]
            found = _joined(others[0], found)
            if types and len(others) < len(branches):
                found["type"] = [*types, "null"]
        else:
            found[keyword] = branches
    return found


def _values(schema: Schema) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else []


def _joined(first: Schema, second: Schema) -> Schema:
    """Both at once, as far as a form can tell: the second's words, the properties of either."""
    both = {**first, **second}
    if "properties" in first and "properties" in second:
        both["properties"] = {**_properties(first), **_properties(second)}
    if "required" in first and "required" in second:
        both["required"] = [*_required(first), *_required(second)]
    return both


def _properties(schema: Schema) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: Schema) -> list[str]:
    found = schema.get("required")
    return found if isinstance(found, list) else []


# --- The kind of a control --------------------------------------------------------------------------------------------


def _property(name: str, inner: Any, root: Schema, required: bool) -> Property:
    schema = resolved(inner, root)
    if isinstance(items := schema.get("items"), dict):
        schema["items"] = resolved(items, root)
    types = _types(schema)
    is_nullable = "null" in types or None in schema.get("enum", ())
    kind = _kind(name, schema, types, required)
    if (default := schema.get("default")) is not None and not is_shown_as(kind, default):
        kind = "json"  # or the default could not be shown
    return Property(name, schema, kind, required, is_nullable)


def _types(schema: Schema) -> list[str]:
    kinds = schema.get("type")
    found = [*kinds] if isinstance(kinds, list) else [kinds]
    for keyword in ("anyOf", "oneOf"):
        for branch in schema.get(keyword) or ():
            found += branch["type"] if isinstance(branch.get("type"), list) else [branch.get("type")]
    return [kind for kind in found if isinstance(kind, str)]


def _kind(name: str, schema: Schema, types: list[str], required: bool) -> Kind:
    if "const" in schema:
        return "fixed" if required else "choice"
    if isinstance(options := schema.get("enum"), list):
        return "radio" if len(options) <= MAX_RADIOS else "choice"
    if "string" in types:  # of several types it is the easiest to write
        return _text_kind(_branch(schema, "string"))
    match [kind for kind in types if kind != "null"]:
        case ["array"]:
            return _list_kind(name, schema)
        case ["boolean"]:
            return "choice" if "null" in types else "boolean"
        case ["integer"]:
            return "integer"
        case ["number"] | ["integer", "number"] | ["number", "integer"]:
            return "number"
        case _:
            return "json"


def _branch(schema: Schema, kind: str) -> Schema:
    """The alternative of that type, with what is said of all of them."""
    branches = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
    return next(({**schema, **branch} for branch in branches if kind in _types(branch)), schema)


def _text_kind(schema: Schema) -> Kind:
    if schema.get("contentEncoding") == "base64" or schema.get("format") in FILE_FORMATS:
        return "file"
    if schema.get("format") == "password" or schema.get("writeOnly") is True:
        return "secret"
    is_short = schema.get("maxLength", LONG_TEXT_FROM + 1) <= LONG_TEXT_FROM
    return "text" if is_short or schema.get("format") in SHORT_FORMATS or "pattern" in schema else "long_text"


def _list_kind(name: str, schema: Schema) -> Kind:
    items = schema.get("items")
    if name == "messages" and (not isinstance(items, dict) or {"role", "content"} <= _properties(items).keys()):
        return "message"
    if not isinstance(items, dict) or "prefixItems" in schema or _types(items) != ["string"]:
        return "json"
    shown = [value for value in schema.get("examples") or () if isinstance(value, list)]
    is_plain = _text_kind(items) in ("text", "long_text") and all(is_shown_as("lines", value) for value in shown)
    return "lines" if is_plain else "json"


def is_shown_as(kind: Kind, value: Any) -> bool:
    """Whether a control of that kind shows the value, and gives it back as it was."""
    match kind:
        case "text":
            return isinstance(value, str) and "\n" not in value
        case "long_text" | "secret" | "file":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "number" | "integer":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "lines":
            return isinstance(value, list) and all(
                isinstance(line, str) and line.strip() and "\n" not in line for line in value
            )
        case _:
            return True


# --- Limits in words --------------------------------------------------------------------------------------------------


def limits_of(schema: Schema) -> Iterator[str]:
    """What a value must keep to: "1 to 8,192", "at most 20,000 characters"."""
    for low, high, words in (
        ("minimum", "maximum", (_("{} to {}"), _("{} or more"), _("up to {}"))),
        ("exclusiveMinimum", "exclusiveMaximum", (_("between {} and {}"), _("above {}"), _("below {}"))),
        ("minLength", "maxLength", (_("{} to {} characters"), _("at least {} characters"), _("at most {} characters"))),
        ("minItems", "maxItems", (_("{} to {} items"), _("at least {} items"), _("at most {} items"))),
    ):
        bounds = [_figure(schema[name]) if _is_number(schema.get(name)) else None for name in (low, high)]
        if schema.get(low) == 1 and low in ("minLength", "minItems"):
            bounds[0] = None  # "not empty", which "required" says already
        match bounds:
            case [str(), str()]:
                yield words[0].format(*bounds)
            case [str(bound), None]:
                yield words[1].format(bound)
            case [None, str(bound)]:
                yield words[2].format(bound)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figure(value: float) -> str:
    return str(number_format(value, force_grouping=True))


# --- In words ---------------------------------------------------------------------------------------------------------


def type_words(schema: Schema) -> str:
    if options := _values(schema):
        return " | ".join(label_of(option) for option in options[:MAX_SHOWN]) + (
            " …" if len(options) > MAX_SHOWN else ""
        )
    return " | ".join(dict.fromkeys(_types(schema))) or _("any")


def as_json(value: Any) -> str:
    """A value as people write it: an object over several lines, all else on one."""
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)


def label_of(option: Any) -> str:
    return option if isinstance(option, str) else json.dumps(option, ensure_ascii=False)


# --- An example -------------------------------------------------------------------------------------------------------


def example_of_schema(schema: Schema) -> Any:
    """An input that most likely fits: the schema's own example, else one built from its required properties."""
    return _example(schema, schema)


def _example(schema: Any, root: Schema, depth: int = 0) -> Any:
    schema = resolved(schema, root)
    if isinstance(examples := schema.get("examples"), list) and examples:
        return examples[0]
    for keyword in ("example", "default", "const"):
        if keyword in schema:
            return schema[keyword]
    if options := _values(schema):
        return options[0]
    types = [kind for kind in _types(schema) if kind != "null"]
    match "string" if "string" in types else next(iter(types), ""):
        case "array":
            items = schema.get("items")
            return [_example(items, root, depth + 1)] if isinstance(items, dict) and depth < MAX_DEPTH else []
        case "string":
            return "text"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            needed = _required(schema) if depth < MAX_DEPTH else []
            return {n: _example(inner, root, depth + 1) for n, inner in _properties(schema).items() if n in needed}
