"""Every address of the site as the matrix of T21 sees it, and what can stand in it. To be imported in `run`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.urls import URLPattern, URLResolver, get_resolver

from common.ids import encode, uuid7
from common.policy import Policy, PolicyPermission, find_policy
from gateway.hotpath.rules import KINDS
from trust.people import Caller, House, Town

if TYPE_CHECKING:
    from accounts.models import Organization

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: What else stands in addresses, of nobody in particular.
WORDS = {
    "<str:value>": "dark",
    "<str:name>": "1.eml",
    "<str:token>": "0" * 64,
    "<str:number>": "1.0.0",
    "<slug:slug>": "nobody",
    "<path:object_id>": "00000000-0000-7000-8000-000000000000",
    "<path:content_type_id>": "1",
    "<str:provider_id>": "nobody",
    "<slug:provider_id>": "nobody",
    "<provider_id>": "nobody",
    "<path:slug>": "nobody/nothing",
}
#: Of addresses that are written as regular expressions.
PATHS = {
    "account_reset_password_from_key": "/accounts/password/reset/key/1-abcdef-0123456789abcdef/",
    "account_confirm_email": "/accounts/confirm-email/x/",
    "openid_connect_login": "/accounts/oidc/nobody/login/",
    "openid_connect_callback": "/accounts/oidc/nobody/login/callback/",
    "admin:app_list": "/admin/accounts/",
}


@dataclass(frozen=True, slots=True)
class Place:
    """An address with its parameters."""

    name: str
    pattern: str
    view: Any
    policy: Policy

    @property
    def is_api(self) -> bool:
        return PolicyPermission in getattr(getattr(self.view, "cls", None), "permission_classes", ())

    @property
    def is_door(self) -> bool:
        """Looks at no credentials."""
        return self.is_api and not self.view.cls.authentication_classes

    @property
    def is_gateways(self) -> bool:
        """Answered before Django is asked, or by asking the running gateway."""
        return self.pattern in KINDS or self.name in ("api:model-invoke", "api:v1-predictions", "playground")

    @property
    def is_admins(self) -> bool:
        return self.name.startswith("admin:")

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that it knows; of pages, which say it no other way, GET and POST."""
        if not self.is_api:
            return ("GET", "POST")
        view = self.view.cls
        return tuple(one for one in METHODS if one.lower() in view.http_method_names and hasattr(view, one.lower()))


@dataclass(frozen=True, slots=True)
class Thing:
    """What an address names. `there`, `nowhere`: what stands in its parameters, and the same where nothing is.

    `house`: whose it is. `through`: the organization that the address names beside it, if it is another one.
    """

    kind: str
    house: House
    object: Any
    there: Mapping[str, str]
    nowhere: Mapping[str, str]
    maker: Any = None  # of a key
    through: Organization | None = field(default=None)

    @property
    def words(self) -> list[tuple[str, str]]:
        """What whoever asks has sent themselves, so that it may come back."""
        return [(self.there[name], self.nowhere[name]) for name in self.there if self.there[name] != self.nowhere[name]]


def places() -> Iterator[tuple[str, Place | None]]:
    """Every address by its name; None for one without a policy."""
    seen: set[tuple[str, str]] = set()
    for name, pattern, view in _walk(get_resolver()):
        policy = find_policy(name)
        if (name, pattern) not in seen:
            seen.add((name, pattern))
            yield name, Place(name, pattern, view, policy) if policy is not None else None


def _walk(resolver: URLResolver, before: str = "", namespace: str = "") -> Iterator[tuple[str, str, Any]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, before + str(entry.pattern), inner)
        elif isinstance(entry, URLPattern) and (entry.name or not namespace):  # the admin's 404 has none
            yield namespace + (entry.name or entry.lookup_str), f"/{before}{entry.pattern}", entry.callback


def path_of(place: Place, values: Mapping[str, str]) -> str:
    """The address with what stands in it; empty where it is not known what to put there."""
    path = place.pattern
    for parameter, value in {**WORDS, **values}.items():
        path = path.replace(parameter, value)
    return PATHS.get(place.name, "") if re.search(r"[<>()^$?\\]", path) else path


def things_at(place: Place, caller: Caller, town: Town) -> list[Thing | None]:
    """What makes a difference at this address: our things, theirs, and theirs through ours. [None]: nothing does."""
    pattern, ours, theirs = place.pattern, town.ours, town.theirs
    houses = [ours, theirs] if caller.name in ("owner", "developer B", "key with everything") else [ours]
    found: list[Thing | None] = []
    for house in houses:
        found += _things(pattern, house, caller)
    if caller.is_person and "<org:id>" in pattern and pattern.count("<") == 2:
        foreign = theirs if caller.house is ours else ours
        found += _through(pattern, foreign, caller)
    return found or [None]


def _things(pattern: str, house: House, caller: Caller) -> Iterator[Thing]:
    organization = {"<org:id>": house.organization.public_id}
    if "<mbr:" in pattern:
        for kind, member in house.members.items():
            names = dict.fromkeys(("<mbr:id>", "<mbr:member_id>"), member.public_id)
            yield Thing(kind, house, member, names | organization, _missing(names, "mbr") | organization)
    elif "<ivt:" in pattern:
        names = dict.fromkeys(("<ivt:id>", "<ivt:invitation_id>"), house.invitation.public_id)
        yield Thing("invitation", house, house.invitation, names | organization, _missing(names, "ivt") | organization)
    elif "<org:" in pattern:
        yield Thing("organization", house, house.organization, organization, _missing(organization, "org"))
    elif "<key:" in pattern:
        makers = {"owner", caller.role if caller.house is house else "owner"}
        for role in sorted(makers):
            key, maker = house.keys[role], house.people[role].user
            names = {"<key:id>": key.public_id}
            yield Thing("key", house, key, names, _missing(names, "key"), maker)
    elif "<dep:" in pattern:
        names = {"<dep:id>": house.deployment.public_id}
        yield Thing("deployment", house, house.deployment, names, _missing(names, "dep"))
    elif "<fil:" in pattern:
        for status, file in house.files.items():
            names = {"<fil:id>": file.public_id, "<str:part>": "64.webp"}
            missing = {**_missing(names, "fil"), "<str:part>": "64.webp"}
            if pattern.startswith("/media/"):
                yield Thing(status, house, file.ai_model, names, missing)
            elif pattern.startswith("/api/files/") and status == "draft":
                yield Thing("file", house, file, names, missing)  # its publisher's alone
            elif status == "draft":
                yield Thing("published", house, file, names, missing)  # an address is nobody's in particular
    elif "<mdl:" in pattern:
        draft = house.models["draft"]
        names = {"<mdl:id>": draft.public_id}
        yield Thing("listing", house, draft, names, _missing(names, "mdl"))  # to publish: its people's alone
    elif "<pred:" in pattern and house.prediction is not None:
        names = {"<pred:id>": house.prediction.public_id}
        yield Thing("prediction", house, house.prediction, names, _missing(names, "pred"))
    elif "<req:" in pattern and house.call is not None:
        names = {"<req:id>": house.call.public_id}
        yield Thing("call", house, house.call, names, _missing(names, "req"))
    elif "<rev:" in pattern:
        if house.review is not None:
            ai_model = house.models["published"]
            names = {"<rev:id>": house.review.public_id}
            model = {"<str:ref>": ai_model.public_id, **_by_name(house, ai_model.slug)}
            yield Thing("published", house, ai_model, names | model, _missing(names, "rev") | model)
    elif "<int:pk>" in pattern:
        yield Thing("passkey", house, house.passkey, {"<int:pk>": str(house.passkey.pk)}, {"<int:pk>": "987654321"})
    elif "<str:ref>" in pattern:
        for status, ai_model in house.models.items():
            price = {"<prc:id>": encode("prc", ai_model.price.pk)}
            other = _missing(price, "prc")
            names = {"<str:ref>": ai_model.public_id}
            yield Thing(status, house, ai_model, names | price, _missing(names, "mdl") | other)
            if status == "draft":
                slugs = (ai_model.slug, ai_model.slug[::-1])
                there, nowhere = ({"<str:ref>": f"{house.organization.slug}:{slug}"} for slug in slugs)
                yield Thing(status, house, ai_model, there | price, nowhere | other)
    elif "<str:slug>" in pattern or pattern == "/v1/models/<path:slug>":
        listed = house.chat if pattern.startswith("/v1/") else house.models.get("published")
        for status, ai_model in (("draft", house.models["draft"]), ("published", listed)):
            if ai_model is not None:
                there, nowhere = _by_name(house, ai_model.slug), _by_name(house, ai_model.slug[::-1])
                yield Thing(status, house, ai_model, there, nowhere)
    elif pattern == "/publishers/<slug:slug>":
        kind = "published" if "published" in house.models else "organization"
        names = {"<slug:slug>": house.organization.slug}
        yield Thing(kind, house, house.organization, names, {"<slug:slug>": house.organization.slug[::-1]})


def _through(pattern: str, foreign: House, caller: Caller) -> Iterator[Thing]:
    """Somebody else's thing under the address of one's own organization."""
    own = {"<org:id>": caller.organization.public_id}
    for thing in _things(pattern, foreign, caller):
        yield Thing(
            thing.kind,
            foreign,
            thing.object,
            {**thing.there, **own},
            {**thing.nowhere, **own},
            through=caller.organization,
        )


def _by_name(house: House, slug: str) -> dict[str, str]:
    publisher = house.organization.slug
    return {"<slug:publisher>": publisher, "<str:slug>": slug, "<path:slug>": f"{publisher}/{slug}"}


def _missing(names: Mapping[str, str], prefix: str) -> dict[str, str]:
    return dict.fromkeys(names, encode(prefix, uuid7()))
