"""`manage.py role_table`: docs/roles.md from the tables that the code obeys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import override

from accounts.models import ROLE_TABLE, Membership
from apikeys.models import PERMISSIONS, scopes_of_role
from config.staff import ACTS, GROUPS

FILE = Path(settings.BASE_DIR) / "docs" / "roles.md"

HEAD = """\
# Roles in an organization

<!-- Written by `manage.py role_table --write`; a test compares it with the code. -->

A person has one role in each organization that they are in. What it allows is the same on the pages and in the API,
and is looked up anew for every request: who is removed or given another role has lost the former one at once, and so
have the keys that they made there, within a second.

## What each role may do

"""

KEYS = """
An organization always has an owner: its last one can neither leave, nor be removed, nor become something less; the
database itself refuses it. An invitation never makes an owner. A personal organization belongs to one account: its
person is its only owner, and it cannot be left by them, handed over, or closed without the account.

To list models takes the role *and* developer access to the site, which the staff grants.

## What a key may do at most

A key does what it was given *and* what the person who made it may still do: this is the second half. A key cannot act
on organizations, members, invitations, passwords or sessions at all.

"""


STAFF = """
## Staff

Staff are people of the operator's, who work in the administration. A superuser may do everything; the others what their
groups allow, and no more: the groups below are made by `manage.py migrate` from `config/staff.py`, and are brought back
to it by the next one. Groups that the operator makes are left alone. What a group may see it may look at and search;
everything else is not there. Staff are made, changed and helped by superusers alone.

Where `STAFF_REQUIRES_MFA` is on, as it is outside the embedded run, staff without a second factor have no permission
at all, and an act, there or by the API, wants the factor shown within the past quarter of an hour.

"""


class Command(BaseCommand):
    help = "Print what each role may do; --write puts it into docs/roles.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--write", action="store_true", help="write docs/roles.md")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["write"]:
            FILE.write_text(document())
        else:
            self.stdout.write(document())


def document() -> str:
    with override("en"):
        labels = [str(label) for label in Membership.Role.labels]
        rights = [(str(right.words), right.roles) for right in ROLE_TABLE.values()]
    granted = [
        (f"`{one}`", {role for role in Membership.Role.values if one in scopes_of_role(role)}) for one in PERMISSIONS
    ]
    return HEAD + _table("", labels, rights) + KEYS + _table("Permission", labels, granted) + STAFF + _staff()


def _staff() -> str:
    """What each group is for, then what it sees and does."""
    with override("en"):
        lines = [f"- **{name}**: {group.words}" for name, group in GROUPS.items()]
        acts = [
            (str(words), {name for name, group in GROUPS.items() if act in group.may}) for act, words in ACTS.items()
        ]
    tables = sorted({table for group in GROUPS.values() for table in group.sees})
    seen = [(f"see `{table}`", {name for name, group in GROUPS.items() if table in group.sees}) for table in tables]
    lines += ["", f"|  | {' | '.join(GROUPS)} |", f"|---|{':-:|' * len(GROUPS)}"]
    for words, names in acts + seen:
        lines.append(f"| {words} | {' | '.join('✓' if name in names else '' for name in GROUPS)} |")
    return "\n".join(lines) + "\n"


def _table(title: str, labels: list[str], rows: list[tuple[str, Any]]) -> str:
    lines = [f"| {title} | {' | '.join(labels)} |", f"|---|{':-:|' * len(labels)}"]
    for words, roles in rows:
        marks = ("✓" if role in roles else "" for role in Membership.Role.values)
        lines.append(f"| {words} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"
