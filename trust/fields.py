"""Every field of every model, with a value that nobody would give it: for T22. To be imported in `run`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import models

from trust.people import House

#: Apps whose tables nobody reaches by a request of theirs.
LEFT_OUT = ("djstripe", "admin", "contenttypes", "sessions")
WORD, NUMBER, SMALL, INSTANT = "zqhostile", 987_654_321, 31_987, "2031-02-03T04:05:06Z"
FIELDS_OF_A_ROW = 3
SOMEBODY = UUID("0199f0f0-0000-7000-8000-00000000beef")
#: By these a value is known again wherever it ends up: in a column that differs from one run to the next, too.
MARKS = (WORD, str(NUMBER), str(SMALL), INSTANT[:19], str(SOMEBODY))


def all_fields(foreign: House) -> dict[str, Any]:
    """Name -> value, of every model at once. Where two models share a name, the first that needs a value of its own
    decides: what it may be is another's."""
    found: dict[str, Any] = {}
    for model in _models():
        found |= {name: value for name, value in fields_of(model, foreign).items() if name not in found}
    return found


def fields_of(model: type[models.Model], foreign: House) -> dict[str, Any]:
    """What programs and forms might call the model's columns and relations, with a value for each."""
    found: dict[str, Any] = {}
    for field in model._meta.get_fields():
        if isinstance(field, models.ForeignKey):
            value = _row_of(field.related_model, foreign)
            found |= {field.name: value, field.attname: value}
        elif field.is_relation:
            found[field.name] = [str(SOMEBODY)]
        else:
            found[field.name] = value_of(field)
    return found


def by_relation(foreign: House) -> dict[str, Any]:
    """Rows under the names of the relations that lead to them, with some of their fields: a body has a limit."""
    found: dict[str, Any] = {}
    for model in _models():
        for field in model._meta.get_fields():
            if field.is_relation and isinstance(field.related_model, type):
                inner = dict(list(fields_of(field.related_model, foreign).items())[-FIELDS_OF_A_ROW:])
                found.setdefault(field.name, inner if not field.one_to_many else [inner])
    return found


def flattened(foreign: House) -> dict[str, Any]:
    """The ways in which forms name a column of another row."""
    found: dict[str, Any] = {}
    for name, value in (("is_staff", "on"), ("is_superuser", "on"), ("role", "owner"), ("rate_limit", NUMBER)):
        for relation in ("user", "organization", "membership", "memberships", "form"):
            for shape in ("{}__{}", "{}.{}", "{}[{}]", "{}-{}", "{}-0-{}"):
                found[shape.format(relation, name)] = value
    return found | {"organization": str(foreign.organization.pk), "pk": str(SOMEBODY)}


def value_of(field: Any) -> Any:
    """Another one than the usual."""
    usual = field.get_default() if field.has_default() else None
    if field.choices:
        values = [value for value, _words in field.flatchoices if value not in ("", usual)]
        return values[0] if values else usual
    match field:
        case models.BooleanField():
            return not usual
        case models.JSONField():
            return {WORD: NUMBER}
        case models.UUIDField():
            return str(SOMEBODY)
        case models.DateTimeField():
            return INSTANT
        case models.PositiveSmallIntegerField() | models.SmallIntegerField():
            return SMALL
        case models.IntegerField() | models.DecimalField():
            return NUMBER
        case models.EmailField():
            return f"{WORD}@example.org"
    return WORD if hasattr(field, "max_length") else [WORD]


def as_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values as a form has them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is True:
            found[name] = "on"
        elif value is not False:  # a box that is not ticked
            found[name] = json.dumps(value) if isinstance(value, dict) else value
    return found


def hostile_in(value: Any) -> str:
    """The mark that a column holds; "" for none."""
    text = str(value).replace(" ", "T")
    return next((mark for mark in MARKS if mark in text), "")


def _models() -> Iterator[type[models.Model]]:
    return (model for model in apps.get_models() if model._meta.app_label not in LEFT_OUT)


def _row_of(model: Any, foreign: House) -> str:
    """A row that is there, of somebody else."""
    owner = foreign.people["owner"].user
    rows = {"organization": foreign.organization, "user": owner, "aimodel": foreign.models["draft"]}
    rows |= {"apikey": foreign.keys["owner"], "modelversion": foreign.models["draft"].current_version}
    row = rows.get(model._meta.model_name)
    return str(row.pk) if row is not None else str(SOMEBODY)


class Form(HTMLParser):
    """The values of a page's forms as a browser sends them: `values`; and all names there are: `names`."""

    def __init__(self, html: str, *, of: str = "") -> None:
        super().__init__(convert_charrefs=True)
        self.values: dict[str, Any] = {}
        self.names: set[str] = set()
        self._select = self._textarea = ""
        self._is_inside, self._of = not of, of
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "form" and self._of:
            self._is_inside = given.get("id") == self._of
        if not self._is_inside or "disabled" in given:
            return
        if tag == "option" and self._select:
            if "selected" in given:
                self.values.setdefault(self._select, []).append(given.get("value", ""))
            return
        if tag not in ("input", "select", "textarea", "button") or not name:
            return
        self.names.add(name)
        kind = given.get("type", "text")
        if tag == "select":
            self._select = name
        elif tag == "textarea":
            self._textarea, self.values[name] = name, ""
        elif tag == "input" and kind in ("checkbox", "radio"):
            if "checked" in given:
                self.values.setdefault(name, []).append(given.get("value", "on"))
        elif tag == "input" and kind not in ("submit", "file", "image", "button"):
            self.values[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""
        elif tag == "form" and self._of:
            self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea] += data
