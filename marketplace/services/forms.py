"""A form from a model's input schema, and the model's input from the form: one field per property."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from common import jsonsafe
from common.problems import FieldError, escape_pointer
from marketplace.services.schemas import Schema

Kind = Literal["text", "long_text", "number", "integer", "boolean", "choice", "message", "json"]

PREFIX = "input."  # of the controls' names, so that no property clashes with a field of the page
WHOLE = "input"  # the control that holds a whole input as JSON
MAX_JSON_BYTES = 256 * 1024
LONG_TEXT_FROM = 120  # characters that must fit
MAX_SHOWN, MAX_SHOWN_CHARACTERS = 8, 40
LIMITS = {
    "minimum": "from {}",
    "maximum": "up to {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "{} or more items",
    "maxItems": "up to {} items",
}
SKIPPED = ("stream", "stream_options", "model")  # of chat and embeddings: the gateway's business


@dataclass(frozen=True, slots=True)
class FormField:
    """One control. `value` is what it shows; `choices` are JSON texts with their labels."""

    name: str
    label: str
    kind: Kind
    required: bool = False
    hint: str = ""
    value: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return "id_" + "".join(c if c.isalnum() else "_" for c in self.name)


# --- Out: the tables --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A property of a schema, in words."""

    name: str
    type: str
    required: bool
    description: str
    limits: tuple[str, ...]


def parameters_of(schema: Schema) -> list[Parameter]:
    """The top-level properties of a schema, required ones first."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return []
    required = schema.get("required", [])
    rows = [
        Parameter(name, _type_words(inner), name in required, str(inner.get("description", "")), tuple(_limits(inner)))
        for name, inner in properties.items()
        if isinstance(inner, dict)
    ]
    return sorted(rows, key=lambda row: (not row.required, _place(properties[row.name])))


def _place(schema: Any) -> float:
    """Where the publisher wants the property among the others: `x-order`. The database keeps no order of its own."""
    place = schema.get("x-order") if isinstance(schema, dict) else None
    return place if isinstance(place, int | float) else float("inf")


def _type_words(schema: Schema) -> str:
    if isinstance(options := schema.get("enum"), list):
        return " | ".join(_label(option) for option in options[:MAX_SHOWN]) + (" …" if len(options) > MAX_SHOWN else "")
    kinds = schema.get("type")
    if kinds is None:
        inner = [found for name in ("anyOf", "oneOf") for found in schema.get(name, ()) if isinstance(found, dict)]
        kinds = list(dict.fromkeys(found["type"] for found in inner if isinstance(found.get("type"), str)))
    words = " | ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return words or "any"


def _limits(schema: Schema) -> Iterable[str]:
    for keyword, words in LIMITS.items():
        if keyword in schema:
            value = schema[keyword]
            yield words.format(f"{value:,}" if isinstance(value, int | float) else _label(value))
    if "default" in schema:
        yield f"default {_as_json(schema['default'])[:MAX_SHOWN_CHARACTERS]}"


# --- Out: the controls ------------------------------------------------------------------------------------------------


def form_of_schema(
    schema: Schema, values: Mapping[str, str] | None = None, errors: Iterable[FieldError] = ()
) -> list[FormField]:
    """The controls for an input; `values` are those of a form that was sent, else examples and defaults are shown."""
    found = list(errors)
    properties = _properties(schema)
    if properties is None:
        shown = _sent(values, WHOLE, _as_json(example_of_schema(schema)))
        return [FormField(WHOLE, "Input", "json", required=True, value=shown, errors=_all_messages(found))]
    required = schema.get("required", [])
    names = sorted(properties, key=lambda name: (name not in required, _place(properties[name])))
    return [
        _field(name, properties[name], name in required, values, tuple(_messages(found, name)))
        for name in names
        if name not in SKIPPED or name in required
    ]


def faults_of_no_field(schema: Schema, errors: Iterable[FieldError]) -> list[str]:
    """Messages that stand at no control of the form."""
    properties = _properties(schema)
    if properties is None:
        return []
    known = {f"/{escape_pointer(name)}" for name in properties}
    return [
        f"{error['pointer']}: {error['detail']}" if error["pointer"] else error["detail"]
        for error in errors
        if _first_token(error["pointer"]) not in known
    ]


def example_of_schema(schema: Schema) -> Any:
    """An input that most likely fits: the schema's own example, else one built from its required properties."""
    if isinstance(examples := schema.get("examples"), list) and examples:
        return examples[0]
    if "default" in schema:
        return schema["default"]
    if isinstance(options := schema.get("enum"), list) and options:
        return options[0]
    if "const" in schema:
        return schema["const"]
    properties = schema.get("properties")
    match _type(schema):
        case "object":
            required = schema.get("required", [])
            shown = properties if isinstance(properties, dict) else {}
            return {name: example_of_schema(inner) for name, inner in shown.items() if name in required}
        case "array":
            items = schema.get("items")
            return [example_of_schema(items)] if isinstance(items, dict) else []
        case "string":
            return "text"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            return {}


def _field(
    name: str, schema: Any, required: bool, values: Mapping[str, str] | None, errors: tuple[str, ...]
) -> FormField:
    schema = schema if isinstance(schema, dict) else {}
    kind = _kind(name, schema)
    control = PREFIX + name
    attributes = {
        html: schema[keyword]
        for keyword, html in (("maxLength", "maxlength"), ("minimum", "min"), ("maximum", "max"))
        if isinstance(schema.get(keyword), int | float)
    }
    if kind == "number":
        attributes["step"] = "any"
    choices = tuple((_as_json(option), _label(option)) for option in schema.get("enum", ())) if kind == "choice" else ()
    return FormField(
        name=control,
        label=str(schema.get("title") or name.replace("_", " ").capitalize()),
        kind=kind,
        required=required and kind != "boolean",
        hint=str(schema.get("description", "")),
        value=_sent(values, control, _initial(kind, schema)),
        choices=choices,
        attributes=attributes,
        errors=errors,
    )


def _kind(name: str, schema: Schema) -> Kind:
    if isinstance(schema.get("enum"), list):
        return "choice"
    match _type(schema):
        case "array" if name == "messages":
            return "message"
        case "string":
            return "text" if schema.get("maxLength", LONG_TEXT_FROM + 1) <= LONG_TEXT_FROM else "long_text"
        case "integer":
            return "integer"
        case "number":
            return "number"
        case "boolean":
            return "boolean"
        case _:
            return "json"


def _type(schema: Schema) -> str:
    """The type to offer; of several the string, which is the easiest to write."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(inner, dict):
            kinds = [*kinds, inner.get("type")]
    if "string" in kinds:
        return "string"
    return next((kind for kind in kinds if isinstance(kind, str) and kind != "null"), "")


def _properties(schema: Schema) -> dict[str, Any] | None:
    """The properties if a form can be made of them."""
    properties = schema.get("properties")
    simple = (
        isinstance(properties, dict) and properties and not any(name in schema for name in ("$ref", "oneOf", "anyOf"))
    )
    return properties if simple else None


def _initial(kind: Kind, schema: Schema) -> str:
    examples = schema.get("examples")
    value = schema.get("default", examples[0] if isinstance(examples, list) and examples else None)
    if value is None:
        return ""
    if kind == "message":
        found = [m.get("content") for m in value if isinstance(m, dict)] if isinstance(value, list) else []
        return str(found[-1]) if found else ""
    if kind == "boolean":
        return "true" if value is True else ""
    return value if isinstance(value, str) and kind in ("text", "long_text") else _as_json(value)


def _sent(values: Mapping[str, str] | None, name: str, otherwise: str) -> str:
    return otherwise if not values else str(values.get(name, ""))


def _as_json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)


def _label(option: Any) -> str:
    return option if isinstance(option, str) else json.dumps(option, ensure_ascii=False)


def _first_token(pointer: str) -> str:
    return "/" + pointer[1:].partition("/")[0] if pointer else ""


def _messages(errors: Iterable[FieldError], name: str) -> list[str]:
    return [error["detail"] for error in errors if _first_token(error["pointer"]) == f"/{escape_pointer(name)}"]


def _all_messages(errors: Iterable[FieldError]) -> tuple[str, ...]:
    return tuple(f"{error['pointer']} {error['detail']}".strip() for error in errors)


# --- In: the model's input --------------------------------------------------------------------------------------------


def body_of_form(schema: Schema, values: Mapping[str, str]) -> tuple[dict[str, Any], list[FieldError]]:
    """The input that a sent form describes, and what in it cannot be read. Whether it fits the schema is not checked.

    A control left empty is left out, unless a text is required: then it is the empty text.
    """
    properties = _properties(schema)
    if properties is None:
        body, fault = _read_json(values.get(WHOLE, ""))
        if fault is None and not isinstance(body, dict):
            fault = {"pointer": "", "code": "invalid", "detail": "The input is a JSON object: { … }."}
        return ({}, [fault]) if fault is not None else (body, [])
    faults: list[FieldError] = []
    body = {}
    required = schema.get("required", [])
    for name, inner in properties.items():
        if name in SKIPPED and name not in required:
            continue
        text = values.get(PREFIX + name, "").replace("\r\n", "\n")
        kind = _kind(name, inner if isinstance(inner, dict) else {})
        pointer = f"/{escape_pointer(name)}"
        if kind == "boolean":
            if text or name in required or (isinstance(inner, dict) and inner.get("default") is True):
                body[name] = bool(text)
        elif kind == "message":
            body[name] = [{"role": "user", "content": text}]
        elif not text.strip() and not (name in required and kind in ("text", "long_text")):
            continue
        elif kind in ("text", "long_text"):
            body[name] = text
        else:
            body[name], fault = _read_json(text)
            if fault is not None:
                detail = "Give a number." if kind in ("number", "integer") else fault["detail"]
                faults.append({"pointer": pointer, "code": fault["code"], "detail": detail})
        if "\0" in text:
            faults.append({"pointer": pointer, "code": "nul", "detail": "NUL characters are not allowed."})
    return body, faults


def _read_json(text: str) -> tuple[Any, FieldError | None]:
    try:
        return jsonsafe.loads(text.encode("utf-8", "surrogatepass"), max_bytes=MAX_JSON_BYTES), None
    except jsonsafe.UnsafeJSON as error:
        return None, {"pointer": error.pointer, "code": error.code, "detail": error.detail}
