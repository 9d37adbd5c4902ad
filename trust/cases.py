"""The cells of T21's matrix: a request each, and what must come of it by the tables alone. To be imported in `run`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin

from accounts.models import role_may
from common.policy import SAFE_METHODS, Policy
from trust.bodies import LOOKS, STAFF, Asked, Deed, deeds_at
from trust.http import Answer, Request
from trust.people import EVERYTHING, Caller, Town
from trust.places import METHODS, Place, Thing, path_of, things_at

ANONYMOUS = Caller("anonymous")
MODELS = ("published", "draft", "in_review")
SEES_DRAFTS = "marketplace.view_aimodel"
#: Doors for people who are not known yet say the same to everybody; these try them.
AT_DOORS = ("anonymous", "consumer A", EVERYTHING, "expired key")
AT_ADMIN = ("anonymous", "consumer A", "superuser")
AT_FORMS_OF_STAFF = ("consumer A", "support", "superuser")
LIKE_OTHERS = ("consumer B", "developer A")
AT_PACKAGES = ("anonymous", "consumer A", "owner", EVERYTHING)  # pages of other people's packages
#: What calls models as OpenAI's and Anthropic's clients do is for keys alone.
# fmt: off
KEYS_ALONE = (  # to POST to
    "api:v1-chat-completions", "api:v1-completions", "api:v1-embeddings", "api:v1-messages", "api:v1-predictions",
)
# fmt: on
#: Open to look at; to send something takes a person.
PERSON_TO_SEND = ("playground", "invitation")
#: What GET answers where it is let in, if not 200.
LOOKED: Mapping[str, frozenset[int]] = {
    "account_*": frozenset({200, 302, 404}),
    "mfa_*": frozenset({200, 302, 403, 404, 405}),
    "socialaccount_*": frozenset({200, 302, 401}),
    "openid_connect_*": frozenset({404}),  # no provider is named
    "organization-switch": frozenset({405}),
    "invitation-change": frozenset({405}),
    "checklist": frozenset({405}),
    "model-save": frozenset({405}),
    **{f"review-{act}": frozenset({405}) for act in ("delete", "helpful", "reply", "report")},
    "theme": frozenset({302}),
    "api:upload": frozenset({405}),
    "search": frozenset({302}),
    "invitation": frozenset({422}),  # links that nobody was sent
    "reopen": frozenset({410}),
    "not-me": frozenset({410}),
    "components": frozenset({404}),  # in DEBUG alone
    "dev-mail*": frozenset({404}),  # in the embedded run alone
}
UNSTABLE = re.compile(
    r"date|expires|server|etag|content-length|retry-after.*|x-request-id|x-client-request-id|(x-)?ratelimit.*"
)

#: What a page of an error offers is made of the address that was sent.
NEAREST = re.compile(r'\n<section class="section">\n  <h2>Perhaps you meant</h2>.*?</section>\n', re.S)


@dataclass(slots=True)
class Case:
    """One request. `twin`: the same with what does not exist, where the two must not be told apart."""

    place: Place
    method: str
    caller: Caller
    path: str
    statuses: frozenset[int]
    thing: Thing | None = None
    body: Any = None
    is_open: bool = False
    twin: str = ""
    more_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        return self.place.is_gateways and self.method == "POST"

    @property
    def words(self) -> list[tuple[str, str]]:
        return self.thing.words if self.thing is not None else []

    def request(self, url: str, path: str) -> Request:
        headers = self.caller.headers(is_api=self.place.is_api)
        if self.place.is_api:
            return Request(self.method, url + path, raw=json.dumps(self.body).encode(), headers=headers)
        headers |= {"Content-Type": "application/x-www-form-urlencoded"}
        return Request(self.method, url + path, raw=urlencode(self.body).encode(), headers=headers)

    def __str__(self) -> str:
        what = "nothing" if self.thing is None else self.thing.kind
        if self.thing is not None and self.thing.through is not None:
            what += " through another organization"
        whose = "" if self.thing is None else " of ours" if self.thing.house.call is not None else " of theirs"
        return f"{self.method} {self.place.name} ({what}{whose}) as {self.caller.name}"


def cases_of(place: Place, town: Town, *, is_full: bool = True) -> Iterator[Case | str]:
    """All cells of an address; a sentence where something about it is not known here. Without is_full, people who are
    like others leave out the pages."""
    for caller in _callers(place, town, is_full):
        for method in METHODS:
            if place.is_admins:
                if method in place.methods and (method == "GET" or caller.name in AT_FORMS_OF_STAFF):
                    yield from _of_admin(place, method, caller)
            elif method in place.methods:
                yield from _known_method(place, method, caller, town)
            elif place.is_api and caller.name in ("anonymous", "owner", EVERYTHING):
                thing = things_at(place, caller, town)[0]
                path = path_of(place, thing.there if thing is not None else {})
                yield Case(place, method, caller, path, frozenset({401, 403, 405}), thing, {})


def _callers(place: Place, town: Town, is_full: bool) -> list[Caller]:
    callers = town.callers
    if place.is_admins:
        return [*(one for one in callers if one.name in AT_ADMIN), *town.staff.values()]
    if place.is_api:
        return [one for one in callers if not place.is_door or one.name in AT_DOORS]
    if re.match("account_|mfa_|socialaccount_|openid_", place.name):
        return [one for one in callers if one.name in AT_PACKAGES]
    people = [one for one in callers if not one.is_key or one.name == EVERYTHING]  # pages know no keys
    return people if is_full else [one for one in people if one.name not in LIKE_OTHERS]


def _known_method(place: Place, method: str, caller: Caller, town: Town) -> Iterator[Case | str]:
    for thing in things_at(place, caller, town):
        deeds: list[Deed | None] = [None]
        if method not in SAFE_METHODS:
            kind = thing.kind if thing is not None else ""
            deeds = [*(deed for deed in deeds_at(place.name, method, is_api=place.is_api) if deed.fits(kind))]
            if not deeds and place.is_api:
                yield f"{place.name}: say in trust/bodies.py what {method} is sent"
                return
            deeds = deeds or [None]
        path = path_of(place, thing.there if thing is not None else {})
        if not path:
            yield f"{place.name}: say in trust/places.py what stands in {place.pattern}"
            return
        for deed in deeds:
            statuses, is_open, is_hidden = expected(place, method, caller, thing, deed)
            case = Case(place, method, caller, path, statuses, thing, is_open=is_open)
            if deed is not None and (caller.user is not None or place.is_door):
                case.body = dict(deed.body(Asked(town, caller, thing)))
            elif method in ("POST", "PUT", "PATCH"):
                case.body = {}
            if is_hidden and thing is not None:
                case.twin = path_of(place, thing.nowhere)
            yield case


def expected(
    place: Place, method: str, caller: Caller, thing: Thing | None, deed: Deed | None
) -> tuple[frozenset[int], bool, bool]:
    """The statuses that are right, whether it is let in, and whether it must look like something that is not there."""
    if place.is_api and caller.is_bad and not place.is_door:
        return frozenset({401}), False, False
    if not place.is_api and caller.is_key:
        caller = ANONYMOUS  # a browser has no key
    decided = decide(place.policy, method, caller)
    if decided == 401 or (place.name in KEYS_ALONE and method == "POST" and not caller.is_key):
        return frozenset({401 if place.is_api else 302}), False, False
    if decided == 403:
        return frozenset({403}), False, False
    if method in SAFE_METHODS and _looked(place) == {405}:
        return frozenset({405}), False, False
    if deed is None and method not in SAFE_METHODS:  # a page that takes nothing
        return frozenset({404, 405}), False, False
    right = deed.right if deed is not None else LOOKS.get(place.name, "")
    if thing is not None and not sees(place, method, caller, thing):
        may = not right or role_may(caller.role, right)
        return frozenset({404} if may else {403, 404}), False, not caller.may_as_staff(SEES_DRAFTS)
    if place.name in PERSON_TO_SEND and method == "POST" and caller.user is None:
        return frozenset({302}), False, False
    if thing is not None and thing.kind in MODELS and (right == "models.publish" or place.name == "api:model-endpoint"):
        if caller.house is not thing.house and not caller.may_as_staff(STAFF.get((place.name, method), "")):
            return frozenset({403}), False, False
    elif right and not _may(caller, right, thing):
        return frozenset({403, 422} if place.name == "member" else {403}), False, False
    is_key_changed = thing is not None and thing.kind == "key" and method in ("PATCH", "PUT")
    if (
        thing is not None
        and is_key_changed
        and caller.scopes is not None
        and not caller.scopes.issuperset(thing.object.permissions)
    ):
        return frozenset({403}), False, False  # a key changes none that may do more
    return deed.done if deed is not None else _looked(place), True, False


def _may(caller: Caller, right: str, thing: Thing | None) -> bool:
    is_own_key = right == "keys.manage" and thing is not None and thing.maker == caller.user
    return role_may(caller.role, right) or is_own_key


def _looked(place: Place) -> frozenset[int]:
    return next((found for name, found in LOOKED.items() if fnmatchcase(place.name, name)), frozenset({200}))


def decide(policy: Policy, method: str, caller: Caller) -> int:
    """What the policy says to this caller, from its data alone: 200 for yes, 401, 403."""
    is_read = method in SAFE_METHODS
    if policy.anonymous_read if is_read else policy.anonymous_write:
        return 200
    if caller.user is None:
        return 401
    if policy.staff_only:
        return 200 if caller.is_staff else 403
    needed = policy.read if is_read else policy.write
    if caller.scopes is not None:
        if needed is None:
            return 403
        if needed != "*" and not caller.scopes & set((needed,) if isinstance(needed, str) else needed):
            return 403
    if caller.is_staff:
        return 200
    if not is_read and policy.platform_write is not None and caller.platform not in policy.platform_write:
        return 403
    roles = policy.roles_read if is_read else policy.roles_write
    return 200 if roles is None or caller.role in roles else 403


def sees(place: Place, method: str, caller: Caller, thing: Thing) -> bool:
    """Whether the thing is there for the caller at this door."""
    if thing.through is not None:
        return False
    is_of_house = caller.house is thing.house
    match thing.kind:
        case "published":
            return True
        case "draft" | "in_review":
            if place.name == "api:v1-model":
                return False
            is_called = method == "POST" and place.is_gateways
            return is_of_house or (caller.may_as_staff(SEES_DRAFTS) and not is_called)
        case "call":
            return is_of_house and (caller.scopes is None or "analytics:read" in caller.scopes)
        case "passkey":
            return caller.is_person and caller.user == thing.object.user
        case "prediction":
            return is_of_house and caller.is_person and caller.user == thing.object.user
    return is_of_house


# --- The administration ---


def _of_admin(place: Place, method: str, caller: Caller) -> Iterator[Case]:
    """Staff see the tables of their group and no other; nobody else finds anything there."""
    _admin, _colon, name = place.name.partition(":")
    model_admin, page = _admin_of(name)
    row = model_admin.model._default_manager.order_by("pk").first() if model_admin is not None else None
    path = path_of(place, {"<path:object_id>": str(row.pk)} if row is not None else {})
    body: Any = {} if method == "POST" else None
    if name in ("login", "logout"):
        yield Case(place, method, caller, path, frozenset({200, 302, 403, 404, 405}), body=body, is_open=True)
        return
    if caller.user is None or caller.is_key:
        statuses = frozenset({302})
    elif not caller.is_staff:
        statuses = frozenset({404})
    elif model_admin is None or method == "POST":
        # What they may do there is done by forms of each table's own; here it is sent an empty one.
        statuses = frozenset({200, 302, 403, 404, 405})
    else:
        meta = model_admin.opts
        may_see = any(caller.may_as_staff(f"{meta.app_label}.{act}_{meta.model_name}") for act in ("view", "change"))
        if page in ("changelist", "change", "history"):
            statuses = frozenset({200} if may_see else {403})
            if row is None and page != "changelist":
                statuses |= {302}
        else:
            may_write = caller.user.is_superuser or caller.may_as_staff(f"{meta.app_label}.{page}_{meta.model_name}")
            statuses = frozenset({200, 302, 403} if may_write else {403})
    act = f"{model_admin.opts.app_label}.change_{model_admin.opts.model_name}" if model_admin is not None else ""
    is_open = caller.may_as_staff(act)
    yield Case(place, method, caller, path, statuses, body=body, is_open=is_open)


def _admin_of(name: str) -> tuple[Any, str]:
    """The page of which table, and what is done on it."""
    for model, found in admin.site._registry.items():
        begin = f"{model._meta.app_label}_{model._meta.model_name}_"
        if name.startswith(begin):
            return found, name.removeprefix(begin)
    return None, ""


# --- Comparing ---


def plain(answer: Answer, words: list[tuple[str, str]]) -> tuple[dict[str, str], str]:
    """Headers and body without what differs between any two requests, and with one word for what each has named."""
    text = answer.body.decode(errors="replace")
    text = re.sub(r"req_[0-9a-z]{26}", "req", text)
    text = re.sub(r'(name="csrfmiddlewaretoken" value|data-csrf|X-CSRFToken&quot;: &quot;)="?[^"&]*', "", text)
    text = NEAREST.sub("", text)
    headers = {name: value for name, value in answer.headers.items() if not UNSTABLE.fullmatch(name)}
    if "set-cookie" in headers:
        headers["set-cookie"] = headers["set-cookie"].partition("=")[0]
    if "content-security-policy" in headers:  # its parts stand in any order
        headers["content-security-policy"] = "; ".join(sorted(headers["content-security-policy"].split("; ")))
    for pair in words:
        for word in pair:
            for spelled in (word, re.sub("[-_]", " ", word)):  # as words to look for
                text = text.replace(spelled, "…")
            headers = {name: value.replace(word, "…") for name, value in headers.items()}
    return headers, text


def first_difference(one: tuple[dict[str, str], str], other: tuple[dict[str, str], str]) -> str:
    if one[0] != other[0]:
        names = [name for name in {**one[0], **other[0]} if one[0].get(name) != other[0].get(name)]
        return ", ".join(f"{name}: {one[0].get(name)} / {other[0].get(name)}" for name in names)
    place = next((at for at, (a, b) in enumerate(zip(one[1], other[1], strict=False)) if a != b), 0)
    found = f"…{one[1][max(place - 60, 0) : place + 60]}… / …{other[1][max(place - 20, 0) : place + 60]}…"
    return " ".join(found.split())
