"""A model's input as a form: the fields that its schema describes, and the body that a filled form stands for.

Flat strings, numbers, booleans and choices are fields of their own; a conversation is its first message; whatever is
nested is written as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from common.jsonsafe import UnsafeJSON, loads
from common.problems import FieldError, escape_pointer

MAX_FORM_BYTES = 256 * 1024
LONG_TEXT = 200
HIDDEN = frozenset({"model", "stream", "stream_options"})  # the page decides these itself


@dataclass(frozen=True, slots=True)
class InputField:
    """One control. `kind`: text, long_text, choice, integer, number, boolean, message or json."""

    name: str
    kind: str
    label: str
    help: str = ""
    is_required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | int | None = None
    maximum: float | int | None = None
    max_length: int | None = None


def input_fields(schema: Mapping[str, Any]) -> list[InputField]:
    """The controls for an input schema, required ones first, else in the schema's order."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return []
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    fields = [
        _field(name, rule, name in needed)
        for name, rule in properties.items()
        if name not in HIDDEN and isinstance(rule, dict)
    ]
    return sorted(fields, key=lambda field: not field.is_required)


def body_of_form(schema: Mapping[str, Any], form: Mapping[str, str]) -> tuple[dict[str, Any], list[FieldError]]:
    """The body that the form's values stand for, and what could not be read. Empty optional fields are left out.

    Whether the body fits the schema is for the gateway to say, as with every call.
    """
    body: dict[str, Any] = {}
    faults: list[FieldError] = []
    for field in input_fields(schema):
        text = form.get(field.name, "")
        if field.kind == "boolean":
            if text or field.is_required:
                body[field.name] = text in ("on", "true", "1")
        elif text.strip():
            try:
                body[field.name] = _read(field, text)
            except ValueError as error:
                pointer = f"/{escape_pointer(field.name)}"
                faults.append({"pointer": pointer, "code": "invalid", "detail": str(error)})
        elif field.is_required and field.kind in ("text", "long_text"):
            body[field.name] = text
    return body, faults


def _field(name: str, rule: dict[str, Any], is_required: bool) -> InputField:
    return InputField(
        name=name,
        kind=_kind(name, rule),
        label=str(rule.get("title") or name.replace("_", " ").capitalize())[:80],
        help=str(rule.get("description") or "")[:300],
        is_required=is_required,
        default=rule.get("default"),
        choices=tuple(str(option) for option in rule["enum"]) if _is_choice(rule) else (),
        minimum=_number(rule.get("minimum")),
        maximum=_number(rule.get("maximum")),
        max_length=rule["maxLength"] if type(rule.get("maxLength")) is int else None,
    )


def _kind(name: str, rule: dict[str, Any]) -> str:
    types = rule.get("type")
    kinds = types if isinstance(types, list) else [types]
    if name == "messages" and "array" in kinds:
        return "message"
    if _is_choice(rule):
        return "choice"
    if "string" in kinds or (name == "input" and "array" not in kinds and "object" not in kinds):
        length = rule.get("maxLength")
        return "text" if type(length) is int and length <= LONG_TEXT else "long_text"
    return next((kind for kind in ("integer", "number", "boolean") if kind in kinds), "json")


def _is_choice(rule: dict[str, Any]) -> bool:
    options = rule.get("enum")
    return isinstance(options, list) and 0 < len(options) <= 100 and all(isinstance(one, str) for one in options)


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read(field: InputField, text: str) -> Any:
    """The value that a text stands for. Raises ValueError with a sentence for the person."""
    match field.kind:
        case "message":
            return [{"role": "user", "content": text}]
        case "integer":
            if not text.strip().removeprefix("-").isdecimal() or len(text) > 20:
                raise ValueError(_("Enter a whole number."))
            return int(text)
        case "number" | "json":
            try:
                value = loads(text.encode(), max_bytes=MAX_FORM_BYTES)
            except (UnsafeJSON, UnicodeEncodeError):
                raise ValueError(_("Enter valid JSON.") if field.kind == "json" else _("Enter a number.")) from None
            if field.kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(_("Enter a number."))
            return value
        case _:
            return text


def example_body(schema: Mapping[str, Any]) -> str:
    """A body for the snippets: the schema's own example or defaults, else a word for each required field."""
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return json.dumps(examples[0], ensure_ascii=False)
    body = {
        field.name: field.default if field.default is not None else _SAMPLES.get(field.kind, "…")
        for field in input_fields(schema)
        if field.is_required
    }
    return json.dumps(body, ensure_ascii=False)


_SAMPLES: dict[str, Any] = {
    "integer": 1,
    "number": 1,
    "boolean": True,
    "message": [{"role": "user", "content": "Hello"}],
}
