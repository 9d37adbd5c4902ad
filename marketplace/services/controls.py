"""The controls of a form made from a model's input schema: what each shows, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _

from common.problems import FieldError, escape_pointer
from marketplace.services.forms import (
    TEXTS,
    Kind,
    Property,
    as_json,
    example_of_schema,
    is_shown_as,
    label_of,
    limits_of,
    properties_of,
    resolved,
)
from marketplace.services.schemas import Schema

PREFIX = "input."  # of the controls' names, so that no property clashes with a field of the page
WHOLE = "input"  # the control that holds a whole input as JSON
SYSTEM = "system"  # the control for a conversation's first word
MAX_BESIDE = 2  # optional controls that stand with the required ones
INPUT_TYPES = {"uri": "url", "iri": "url", "email": "email", "date": "date", "time": "time"}
HINTS = {"date-time": "2026-11-23T14:02:00Z", "duration": "PT1H30M", "uuid": "00000000-0000-4000-8000-000000000000"}


@dataclass(frozen=True, slots=True)
class Control:
    """One control. `initial` is what an untouched form holds; `choices` are JSON texts with their labels."""

    name: str
    label: str
    kind: Kind
    required: bool = False
    hint: str = ""
    value: str = ""
    initial: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    is_beside: bool = False  # small and wanted: it stands with the required ones

    @property
    def id(self) -> str:
        return "id_" + "".join(c if c.isalnum() else "_" for c in self.name)

    @property
    def is_main(self) -> bool:
        """Whether it is always in sight."""
        return self.required or self.is_beside

    @property
    def is_shareable(self) -> bool:
        """Whether its value may stand in a link."""
        return self.kind not in ("fixed", "file", "secret")


def controls_of(
    schema: Schema, values: Mapping[str, str] | None = None, errors: Iterable[FieldError] = ()
) -> list[Control]:
    """The controls for an input. `values` are those of a form that was sent; without, the defaults are shown."""
    found = list(errors)
    initial = initial_values(schema)
    shown = initial if values is None else values
    rows = properties_of(schema)
    if rows is None:
        messages = tuple(f"{error['pointer']} {error['detail']}".strip() for error in found)
        hint = _as_hint([_("Required"), _("Written as JSON")])
        return [Control(WHOLE, _("Input"), "json", True, hint, shown.get(WHOLE, ""), initial[WHOLE], errors=messages)]
    controls: list[Control] = []
    for row in rows:
        controls.append(_control(row, shown, initial, tuple(_messages(found, row))))
        if row.has_system:
            hint = _("What the model is told before the conversation.")
            controls.append(Control(SYSTEM, _("System message"), "long_text", False, hint, shown.get(SYSTEM, "")))
    return _beside(controls, rows)


def _beside(controls: list[Control], rows: list[Property]) -> list[Control]:
    """Marks the first few small optional controls that the publisher gave a place, or the first if none is required."""
    wanted = [PREFIX + row.name for row in rows if not row.required and "x-order" in row.schema and _is_small(row.kind)]
    wanted = wanted[:MAX_BESIDE]
    if not wanted and not any(control.required for control in controls):
        wanted = [controls[0].name]
    return [replace(control, is_beside=True) if control.name in wanted else control for control in controls]


def _is_small(kind: Kind) -> bool:
    return kind in ("text", "number", "integer", "choice")


def faults_of_no_control(schema: Schema, errors: Iterable[FieldError]) -> list[str]:
    """Messages that stand at no control of the form."""
    rows = properties_of(schema)
    if rows is None:
        return []
    known = {f"/{escape_pointer(row.name)}" for row in rows}
    return [
        f"{error['pointer']}: {error['detail']}" if error["pointer"] else error["detail"]
        for error in errors
        if first_token(error["pointer"]) not in known
    ]


def initial_values(schema: Schema) -> dict[str, str]:
    """What an untouched form holds: the defaults."""
    rows = properties_of(schema)
    root = resolved(schema, schema)
    if rows is None:
        return {WHOLE: as_json(root.get("default", example_of_schema(schema)))}
    return values_of({row.name: row.schema["default"] for row in rows if "default" in row.schema}, rows)


def example_values(schema: Schema, number: int = 0) -> dict[str, str]:
    """A form filled with one of the schema's examples, or with those of its properties."""
    rows = properties_of(schema)
    examples = examples_of(schema)
    example = examples[number % len(examples)] if examples else example_of_schema(schema)
    if rows is None:
        return {WHOLE: as_json(example)}
    body = dict(example) if isinstance(example, dict) else {}
    for row in rows:
        if not examples and isinstance(own := row.schema.get("examples"), list) and own:
            body.setdefault(row.name, own[0])
    return initial_values(schema) | values_of(body, rows)


def examples_of(schema: Schema) -> list[Any]:
    """The examples that the publisher gives of a whole input."""
    found = resolved(schema, schema).get("examples")
    return [example for example in found if isinstance(example, dict)] if isinstance(found, list) else []


def values_of(body: Mapping[str, Any], rows: Iterable[Property]) -> dict[str, str]:
    """The form that describes an input, as far as the controls can show it."""
    values: dict[str, str] = {}
    for row in rows:
        if row.name not in body or row.kind in ("file", "fixed"):
            continue
        value = body[row.name]
        name = PREFIX + row.name
        if row.kind == "message":
            texts = [m for m in value if isinstance(m, dict)] if isinstance(value, list) else []
            spoken = {m.get("role"): m["content"] for m in texts if isinstance(m.get("content"), str)}
            values[name] = spoken.get("user", "")
            if row.has_system:
                values[SYSTEM] = spoken.get("system", "")
        elif row.kind == "boolean":
            values[name] = "true" if value is True else ""
        elif row.kind == "lines" and is_shown_as("lines", value):
            values[name] = "\n".join(value)
        elif row.kind in TEXTS:
            values[name] = value if isinstance(value, str) else ""
        elif value is None and row.kind not in ("choice", "radio", "json"):
            values[name] = ""
        else:
            values[name] = as_json(value)
    return values


def _control(row: Property, shown: Mapping[str, str], initial: Mapping[str, str], errors: tuple[str, ...]) -> Control:
    name, schema = PREFIX + row.name, row.schema
    choices: list[tuple[str, str]] = []
    if row.kind in ("choice", "radio", "fixed"):
        choices = [(as_json(option), label_of(option)) for option in row.options]
        if not row.required and not initial.get(name):
            choices.insert(0, ("", _("Not set") if row.kind == "radio" else "–"))
    return Control(
        name=name,
        label=_("Message")
        if row.kind == "message"
        else str(schema.get("title") or row.name.replace("_", " ").replace("-", " ").capitalize()),
        kind=row.kind,
        required=row.required and row.kind not in ("boolean", "fixed"),
        hint=_as_hint(_hints(row)),
        value="" if row.kind in ("secret", "file") else shown.get(name, ""),
        initial=initial.get(name, ""),
        choices=tuple(choices),
        attributes=_attributes(row),
        errors=errors,
    )


def _attributes(row: Property) -> dict[str, Any]:
    schema, found = row.schema, {}
    if row.kind in ("number", "integer"):
        found = {html: schema[name] for name, html in (("minimum", "min"), ("maximum", "max")) if name in schema}
        step = schema.get("multipleOf", 1 if row.kind == "integer" else "any")
        fits = isinstance(step, int) and isinstance(low := schema.get("minimum", 0), int) and low % step == 0
        found["step"] = step if fits else "any"  # browsers count steps from the minimum on
    elif row.kind == "text" and (kind := INPUT_TYPES.get(str(schema.get("format")))):
        found = {"type": kind}
    elif row.kind == "file" and (kind := schema.get("contentMediaType")):
        found = {"accept": str(kind)}
    return found


def _hints(row: Property) -> Iterable[str]:
    schema = row.schema
    if row.required and row.kind not in ("boolean", "fixed"):
        yield _("Required")
    if row.kind == "message":
        yield _("What you say to the model")
        return
    if description := str(schema.get("description") or ""):
        yield description
    if row.kind != "file":
        yield from (words[:1].upper() + words[1:] for words in limits_of(schema))
    if example := HINTS.get(str(schema.get("format"))):
        yield _("Like {}").format(example)
    if row.kind == "lines":
        yield _("One on each line")
    if row.kind == "json":
        yield _("Written as JSON")
    if row.kind == "file" and (kind := schema.get("contentMediaType")):
        yield _("A file of type {}").format(kind)


def _as_hint(parts: Iterable[str]) -> str:
    return " ".join(part if part.endswith((".", "!", "?", "…", ":", ")")) else f"{part}." for part in parts)


# --- What is wrong ----------------------------------------------------------------------------------------------------


def first_token(pointer: str) -> str:
    return "/" + pointer[1:].partition("/")[0] if pointer else ""


def _messages(errors: Iterable[FieldError], row: Property) -> Iterable[str]:
    own = f"/{escape_pointer(row.name)}"
    for error in errors:
        if first_token(error["pointer"]) == own:
            within = error["pointer"].removeprefix(own)
            shown = row.kind in ("json", "lines") and within
            yield f"{within}: {error['detail']}" if shown else words_for(row, error)


def words_for(row: Property, error: FieldError) -> str:
    """What to do about it, rather than which keyword of the schema did not hold."""
    if error["code"] == "required" or (error["code"] == "min_length" and row.schema.get("minLength") == 1):
        return _("This field is required.")
    if row.kind in ("number", "integer"):
        what = _("Enter a whole number") if row.kind == "integer" else _("Enter a number")
        limits = list(limits_of(row.schema))
        if len(limits) == 1 and {"minimum", "maximum"} <= row.schema.keys():
            return _("{what} from {range}.").format(what=what, range=limits[0])
        return f"{what}: {', '.join(limits)}." if limits else f"{what}."
    if error["code"] in ("min_length", "max_length", "min_items", "max_items"):
        return "".join(f"{words[:1].upper()}{words[1:]}." for words in limits_of(row.schema)) or error["detail"]
    if error["code"] == "enum":
        return _("Choose one of the values.")
    return error["detail"]
