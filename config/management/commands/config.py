import os
import textwrap
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config import env

ENV_EXAMPLE = settings.BASE_DIR / ".env.example"
PAGE = settings.BASE_DIR / "docs" / "operations" / "configuration.md"
PAGE_HEAD = """\
# Configuration

Every environment variable, made from the table in `config/env.py` by `manage.py config --docs`.
`manage.py config` shows the values in force, masks secrets and names variables that nobody reads.

Values come from the environment, or from the file `.env` beside `manage.py`; the environment wins. A secret may stand
in a file instead: `NAME_FILE=/run/secrets/name`. A start with faults ends with a list of all of them.

Keys are written `id:key`, several separated by commas: the first is used for new values, the others still open old
ones, so a key is changed by putting a new one in front. Make one with

```sh
python3 -c "import base64, os; print('k1:' + base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip('='))"
```"""


class Command(BaseCommand):
    help = "Show the configuration in force, with secrets masked and unknown variables named."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--env-example", action="store_true", help=f"write {ENV_EXAMPLE.name} instead")
        parser.add_argument("--docs", action="store_true", help="write the page of the documentation instead")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["env_example"]:
            ENV_EXAMPLE.write_text(env_example(), encoding="utf-8")
        if options["docs"]:
            PAGE.write_text(page(), encoding="utf-8")
        if not (options["env_example"] or options["docs"]):
            self.show()

    def show(self) -> None:
        section = ""
        for variable in env.VARIABLES:
            if variable.section != section:
                section = variable.section
                self.stdout.write(self.style.MIGRATE_HEADING(section))
            text, source = in_force(variable)
            self.stdout.write(f"  {variable.name} = {text}  {self.style.HTTP_NOT_MODIFIED(source)}")
        for name, nearest in env.unknown(os.environ, settings.ENV_FILE).items():
            hint = f"; did you mean {nearest}?" if nearest else ""
            self.stdout.write(self.style.WARNING(f"{name} is not a variable of this product{hint}"))


def in_force(variable: env.Variable) -> tuple[str, str]:
    """The value as one would write it, masked if secret, and where it comes from."""
    if os.environ.get(variable.name, "").strip():
        return env.shown(variable, os.environ[variable.name].strip()), "(set)"
    path = os.environ.get(variable.name + env.OPTIONAL_FILE_SUFFIX, "") if variable.secret else ""
    if path:
        return "(hidden)", f"(from {path})"
    default = variable.in_debug if settings.DEBUG and variable.in_debug is not None else variable.default
    if default is None:
        return "", "(none)"
    return env.shown(variable, default), "(default)"


def env_example() -> str:
    lines = [
        "# Copy to .env, or set these in the environment, which wins over the file.",
        "# Made from the table in config/env.py by `manage.py config --env-example`.",
        "# Each secret may stand in a file instead: SECRET_KEY_FILE=/run/secrets/secret_key",
    ]
    section = ""
    for variable in env.VARIABLES:
        if variable.section != section:
            section = variable.section
            lines += ["", f"# --- {section} ---"]
        required = " Required." if variable.required or variable.required_in_production else ""
        lines += [
            "",
            *textwrap.wrap(
                f"{variable.help}{required} ({variable.type})",
                118,
                initial_indent="# ",
                subsequent_indent="# ",
                break_on_hyphens=False,
                break_long_words=False,
            ),
        ]
        lines.append(f"#{variable.name}={variable.default or ''}")
    return "\n".join(lines) + "\n"


def page() -> str:
    lines = [PAGE_HEAD]
    section = ""
    for variable in env.VARIABLES:
        if variable.section != section:
            section = variable.section
            lines += ["", f"## {section}", "", "| Variable | Type | Default | |", "|---|---|---|---|"]
        notes = [variable.help]
        if variable.required:
            notes.append("**Required.**")
        elif variable.required_in_production:
            notes.append("**Required** unless `DEBUG` is on.")
        if variable.secret:
            notes.append("Secret.")
        default = f"`{variable.default}`" if variable.default else ""
        lines.append(f"| `{variable.name}` | {variable.type} | {default} | {' '.join(notes)} |")
    return "\n".join(lines) + "\n"
