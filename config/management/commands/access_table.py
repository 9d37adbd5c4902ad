"""`manage.py access_table`: docs/access.md from the tables that every request is held against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.urls import URLPattern, URLResolver, get_resolver

from common.limits import Route, find_route
from common.policy import ANY, Policy, find_policy

FILE = Path(settings.BASE_DIR) / "docs" / "access.md"

HEAD = """\
# Who may call what

<!-- Written by `manage.py access_table --write`; a test compares it with the code. -->

Every address of the site, from `config/access.py`. What is not in that table answers 403 and stops the start. *Read* is
GET, HEAD and OPTIONS; *write* is every other method. A policy looks at the method and the caller alone: which objects
somebody may see or change is decided by the queries and services, and a hidden object answers as a missing one does.

*Key* is the permission that an API key needs, of several one; "–" where no key will do, only a person. *Role* is the
caller's in the organization that they act for; what each role may do is in [roles.md](roles.md). Staff need no role,
but for what they do to others' things the permission of a group.

*Limit* is the address's own, in requests a minute, from `config/limits.py`. Beside it, everything under `/api` and
`/v1` counts on the limits of its key and its organization, of its person, or of the network address.
"""
SECTIONS = (
    ("Pages", re.compile(r"^/(?!api/|v1|accounts/|admin/)|^/api/docs$")),
    ("Signing in, and one's account", re.compile(r"^/accounts/")),
    ("The API", re.compile(r"^/api/(?!docs$)")),
    ("The gateway", re.compile(r"^/v1")),
    ("The administration", re.compile(r"^/admin/")),
)
SHARES = {1: "", 2: "half of ", 20: "a twentieth of "}


class Command(BaseCommand):
    help = "Print who may call what; --write puts it into docs/access.md."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--write", action="store_true", help="write docs/access.md")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["write"]:
            FILE.write_text(document(), encoding="utf-8")
        else:
            self.stdout.write(document())


def document() -> str:
    rows = sorted({(path, name) for name, path in addresses(get_resolver())})
    parts = [HEAD]
    for title, pattern in SECTIONS:
        parts.append(f"\n## {title}\n\n| Address | Method | Who | Key | Role | Limit |\n|---|---|---|---|---|---|\n")
        parts += [line for path, name in rows if pattern.search(path) for line in _lines(path, name)]
    return "".join(parts)


def addresses(resolver: URLResolver, path: str = "/", namespace: str = "") -> Iterator[tuple[str, str]]:
    """Name and path of every URL; the tables of the administration, which are many and alike, as one."""
    for entry in resolver.url_patterns:
        here = path + _readable(str(entry.pattern))
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from addresses(entry, here, inner)
        elif isinstance(entry, URLPattern):
            name = f"{namespace}{entry.name or entry.lookup_str}"
            if name.startswith("admin:") and name not in ("admin:login", "admin:logout"):
                name, here = "admin:*", "/admin/…"
            yield name, here


def _readable(pattern: str) -> str:
    """`keys/<key:id>` -> `keys/{id}`, and of a regular expression the groups' names."""
    text = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"{\1}", pattern)
    text = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", text)
    return text.replace("^", "").replace("$", "").replace("\\Z", "").replace("\\", "")


def _lines(path: str, name: str) -> Iterator[str]:
    policy = find_policy(name)
    if policy is None:
        raise LookupError(f"{name} has no access policy.")
    limit = _limit(find_route(name))
    read, write = _facts(policy, "GET"), _facts(policy, "POST")
    for method, facts in (("any", read),) if read == write else (("read", read), ("write", write)):
        yield f"| `{path}` | {method} | {' | '.join(facts)} | {limit} |\n"


def _facts(policy: Policy, method: str) -> tuple[str, str, str]:
    """Who, with which key, in which role."""
    if policy.is_open(method):
        return "everyone", "any", "any"
    if policy.staff_only:
        return "staff", "–", "–"
    is_read = method == "GET"
    platform = None if is_read else policy.platform_write
    scopes = policy.scopes(method)
    who = "signed in" if platform is None else f"signed in: {', '.join(sorted(platform))}"
    key = "–" if scopes is None else "any" if ANY in scopes else " or ".join(f"`{scope}`" for scope in scopes)
    roles = policy.roles_read if is_read else policy.roles_write
    return who, key, "any" if roles is None else ", ".join(sorted(roles))


def _limit(route: Route | None) -> str:
    if route is None:
        return ""
    who = "network" if route.by_network else "caller"
    methods = "" if route.methods is None else f", {', '.join(sorted(route.methods))}"
    return f"{route.name}: {SHARES[route.share]}`{route.setting}` by {who}{methods}"
