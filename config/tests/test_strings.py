"""What people read can be translated: each string stands whole in the source, and takes the same facts in each form."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.utils.translation import template as extraction

FUNCTIONS = {
    "_": 1,
    "gettext": 1,
    "gettext_lazy": 1,
    "pgettext": 2,
    "pgettext_lazy": 2,
    "ngettext": 2,
    "ngettext_lazy": 2,
}
PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?[sdr]|%%")
#: What a person sees when it is given so; the texts of the API are English, and the style guide is for developers.
SEEN = {"label", "help_text", "verbose_name", "verbose_name_plural", "empty_label", "search_help_text"}
ENGLISH = {"serializers", "styleguide.py", "api.py", "tests", "migrations", "djstripe_migrations", "management", "demo"}
ROOT: Path = settings.BASE_DIR


def sources() -> list[Path]:
    ours = [ROOT / config.name for config in apps.get_app_configs() if (ROOT / config.name / "__init__.py").is_file()]
    files = {file for directory in [*ours, ROOT / "common"] for file in directory.rglob("*.py")}
    return sorted(file for file in files if not {"tests", "migrations", "djstripe_migrations"} & set(file.parts))


def calls(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield node


def texts(call: ast.Call) -> list[ast.expr] | None:
    """The arguments of a call that marks a text for translation; None for any other call."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    return call.args[: FUNCTIONS[name]] if name in FUNCTIONS else None


def test_every_text_stands_in_the_source_as_it_is_looked_up():
    wrong = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in sources()
        for call in calls(file)
        for text in texts(call) or ()
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str))
        and not (isinstance(call.func, ast.Name) and call.func.id == "_" and isinstance(text, ast.Name))
    ]
    assert wrong == [], "an f-string or a sum of strings is not found by makemessages"


def test_facts_in_a_text_have_names_and_are_the_same_in_the_plural():
    wrong = []
    for file in sources():
        for call in calls(file):
            found = [text.value for text in texts(call) or () if isinstance(text, ast.Constant)]
            names = [set(PLACEHOLDER.findall(text)) - {""} for text in found]
            unnamed = [
                text for text in found if len([m for m in PLACEHOLDER.finditer(text) if m[0] in ("%s", "%d")]) > 1
            ]
            if unnamed or ("ngettext" in ast.unparse(call.func) and names[0] - names[1]):
                wrong.append(f"{file.relative_to(ROOT)}:{call.lineno} {found}")
    assert wrong == []


def test_what_forms_and_models_say_is_marked():
    wrong = [
        f"{file.relative_to(ROOT)}:{call.lineno} {keyword.arg}={keyword.value.value!r}"
        for file in sources()
        if not ENGLISH & {*file.relative_to(ROOT).parts, file.stem}
        for call in calls(file)
        for keyword in call.keywords
        if keyword.arg in SEEN
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
        and re.search(r"[a-z]{2,}", keyword.value.value)
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "templates").iterdir() if path.is_dir()))
def test_the_texts_of_templates_can_be_collected(folder: str):
    """As makemessages does it: it stops at a filter inside a blocktranslate, or at a tag that is not closed."""
    for file in sorted((ROOT / "templates" / folder).rglob("*.*")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            extraction.templatize(file.read_text(), origin=str(file))
