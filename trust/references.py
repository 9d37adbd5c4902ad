"""Somebody else's things named in a query, a body or a header: each must be answered as one that does not exist. To be
imported in `run`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.ids import encode, uuid7
from common.policy import ORGANIZATION_HEADER
from trust.people import Caller, Town

#: Addresses of the API that everybody has, where an organization is named by the header.
# fmt: off
BY_HEADER = (
    "/api/auth/me", "/api/keys", "/api/limits", "/api/requests", "/api/deployments", "/api/analytics/usage",
    "/api/audit-events", "/api/webhooks/secret", "/v1/predictions",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Sent:
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reference:
    caller: Caller
    method: str
    is_api: bool
    there: Sent
    nowhere: Sent
    words: tuple[str, str]

    def __str__(self) -> str:
        body = "" if self.there.body is None else f" {self.there.body}"
        return f"{self.method} {self.there.path}{body} as {self.caller.name}"


def references(town: Town) -> Iterator[Reference]:
    house = town.ours
    draft, key, call = house.models["draft"].public_id, house.keys["owner"].public_id, house.call.public_id
    people = {"mdl": draft, "key": key, "req": call, "usr": house.members["member"].user.public_id}
    for caller in (town["consumer A"], town["developer B"]):
        own = caller.organization.public_id
        member = house.members["member"]
        yield from _both(caller, "POST", "/api/keys", draft, "mdl", {"name": "x", "allowed_models": ["{}"]})
        named = {"name": "x", "model_id": house.models["published"].public_id}
        yield from _both(caller, "POST", "/api/deployments", draft, "mdl", {**named, "model_id": "{}"})
        yield from _both(caller, "POST", "/api/deployments", draft, "mdl", {**named, "fallback_model_id": "{}"})
        yield from _both(
            caller, "POST", f"/api/organizations/{own}/transfer", member.public_id, "mbr", {"member_id": "{}"}
        )
        yield from _both(
            caller, "POST", "/organizations/switch", house.organization.public_id, "org", {"organization": "{}"}
        )
        yield from _both(caller, "POST", "/settings/members/transfer", str(member.pk), "", {"member": "{}"})
        yield from _both(caller, "POST", "/settings/sessions", str(uuid7()), "", {"end": "{}"})
        for path in BY_HEADER:
            yield from _both(caller, "GET", path, house.organization.public_id, "org", header=ORGANIZATION_HEADER)
        for query in (
            *("/usage?model={mdl}", "/usage?key={key}", "/usage?model={mdl}&csv=table", "/requests?id={req}"),
            *("/requests?model={mdl}", "/requests?key={key}", "/requests?before={req}", "/requests?after={req}"),
            *("/settings/audit?person={usr}", "/settings/api-log?key={key}"),
        ):
            prefix = next(name for name in people if f"{{{name}}}" in query)
            yield from _both(caller, "GET", query.replace(f"{{{prefix}}}", "{}"), people[prefix], prefix)


def _both(
    caller: Caller, method: str, path: str, there: str, prefix: str, body: Any = None, header: str = ""
) -> Iterator[Reference]:
    nowhere = encode(prefix, uuid7()) if prefix else str(uuid7())

    def sent(word: str) -> Sent:
        given = None
        if body is not None:
            given = {
                name: [word] if value == ["{}"] else word if value == "{}" else value for name, value in body.items()
            }
        return Sent(path.replace("{}", word), given, {header: word} if header else {})

    is_api = path.startswith("/api/")
    yield Reference(caller, method, is_api, sent(there), sent(nowhere), (there, nowhere))
