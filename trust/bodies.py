"""What can be done at each address that takes something: a body that is right, what the table of roles asks for it, and
the answers that say it was done. T21 sends it as everybody, T22 sends it with fields that are not its own.

An address that is not here has nothing to be sent to it; T21 says so of one that takes something all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from apikeys.forms import BASE
from apikeys.models import scopes_of_role
from common.ids import uuid7
from trust import world
from trust.people import new_name

if TYPE_CHECKING:
    from trust.people import Caller, House, Town
    from trust.places import Thing


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, about what: all that a body depends on."""

    town: Town
    caller: Caller
    thing: Thing | None = None

    @property
    def house(self) -> House:
        """Whose things are asked about; the caller's own where nothing is."""
        return self.thing.house if self.thing is not None else self.caller.house or self.town.ours

    @property
    def permission(self) -> str:
        """One that both the caller's role and key cover."""
        within = scopes_of_role(self.caller.role) & (self.caller.scopes or scopes_of_role(self.caller.role))
        return "keys:write" if "keys:write" in within else "models:read"


Body = Callable[[Asked], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Deed:
    """right: of `ROLE_TABLE`; "" is everybody's. done: the answers that say that it was done, or would have been but
    for the state of the thing. of: the kinds of things it is for, if not all."""

    body: Body = lambda asked: {}
    right: str = ""
    done: frozenset[int] = frozenset({200})
    of: tuple[str, ...] = ()

    def fits(self, kind: str) -> bool:
        return not self.of or kind in self.of


def done(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


def _new_address(asked: Asked) -> dict[str, Any]:
    return {"email": world.new_address()}


def _listing(asked: Asked) -> dict[str, Any]:
    return {
        "name": "Mood",
        "description": "Tells it.",
        "version": "1.0.0",
        "category": "other",
        "capabilities": ["tone"],
        "api_spec": {"input": world.TEXT_IN, "output": world.LABEL_OUT},
        "pricing": {"type": "paid", "rates": {"per_call": "0.01", "included_calls": 0}},
        "license": "MIT",
    }


def _key_form(asked: Asked) -> dict[str, Any]:
    """Of the page; the id of a new key is signed into the form."""
    from django.core import signing

    assert asked.caller.user is not None
    once = signing.dumps([str(asked.caller.user.pk), str(uuid7())], salt="apikeys.new")
    form = {"name": "nightly", "mode": "live", "access": "read", "expires": "30", "window": "month", "once": once}
    return form | {"models": "", "spend_limit": "", "rate_limit": "", "allowed_ips": ""}


def _edited_key(asked: Asked) -> dict[str, Any]:
    found = _key_form(asked) | {
        "expires": "keep",
        "extra": [one for one in asked.thing.object.permissions if one not in BASE] if asked.thing else [],
    }
    return {name: value for name, value in found.items() if name not in ("mode", "once")}


def _zone(asked: Asked) -> dict[str, Any]:
    return {"name": "Renamed", "time_zone": "Europe/Berlin"}


def _limit(asked: Asked) -> dict[str, Any]:
    return {"spend_limit": {"amount": "5.00", "currency": "USD", "window": "day"}}


def _deployment(asked: Asked) -> dict[str, Any]:
    """Of the model that everybody sees."""
    return {"name": new_name(), "model_id": asked.town.ours.models["published"].public_id}


def _deployment_form(asked: Asked) -> dict[str, Any]:
    seen = asked.town.ours.models["published"]
    return {"name": new_name(), "model": f"{seen.publisher.slug}/{seen.slug}", "window": "month"}


def _basics(asked: Asked) -> dict[str, Any]:
    """The first step of publishing."""
    listing = _listing(asked)
    plain = {name: listing[name] for name in ("name", "description", "version", "category", "license")}
    return plain | {f"{side}_schema": json.dumps(listing["api_spec"][side]) for side in ("input", "output")}


def _file(asked: Asked) -> dict[str, Any]:
    """A promise of the publisher's logo: without a model, whoever asks."""
    return {"kind": "logo", "name": "logo.png", "media_type": "image/png", "size": 1000}


def _review(asked: Asked) -> dict[str, Any]:
    return {"rating": 4, "content": "Quick, and rarely wrong."}


def _words(asked: Asked) -> dict[str, Any]:
    return {"content": "It will be better."}


def _report(asked: Asked) -> dict[str, Any]:
    return {"reason": "spam", "note": "It sells something."}


def _to(role: str) -> Body:
    return lambda asked: {"role": role}


def _invited(asked: Asked) -> dict[str, Any]:
    return {**_new_address(asked), "role": "member"}


def _proof(name: str, **more: Any) -> Body:
    field = {"api:password-reset-confirm": "token", "api:refresh": "refresh"}.get(name, "code")
    return lambda asked: {field: asked.town.proofs[name], **more}


def _person(asked: Asked) -> dict[str, Any]:
    """An account that can be logged in to."""
    user = asked.town["consumer A"].user
    assert user is not None
    return {"email": user.email}


WORDS = {"version": "2.0.0", "api_spec": {"input": world.TEXT_IN, "output": world.LABEL_OUT}, "changelog": "Better."}
PLAIN, OWNER, GONE, STATE = ("member",), ("owner",), done(204), 409

#: Of the API, by URL name and method.
API: Mapping[tuple[str, str], Sequence[Deed]] = {
    ("api:register", "POST"): (
        Deed(lambda asked: {**_new_address(asked), "password": world.PASSWORD, "name": "Ada"}, done=done(202)),
    ),
    ("api:verify-email", "POST"): (
        Deed(lambda asked: {**_proof("api:verify-email")(asked), "email": asked.town.newcomer.email}),
    ),
    ("api:login", "POST"): (Deed(lambda asked: {**_person(asked), "password": world.PASSWORD}),),
    ("api:login-code", "POST"): (Deed(_person, done=done(202)),),
    ("api:login-code-confirm", "POST"): (
        Deed(lambda asked: {**_proof("api:login-code-confirm")(asked), **_person(asked)}),
    ),
    ("api:refresh", "POST"): (Deed(_proof("api:refresh")),),
    ("api:logout", "POST"): (Deed(_proof("api:refresh"), done=GONE),),
    ("api:password-reset", "POST"): (Deed(_person, done=done(202)),),
    ("api:password-reset-confirm", "POST"): (
        Deed(_proof("api:password-reset-confirm", password="another horse battery 42"), done=GONE),
    ),
    ("api:me", "PATCH"): (Deed(lambda asked: {"name": "Renamed"}),),
    ("api:become-developer", "POST"): (Deed(),),
    ("api:organizations", "POST"): (Deed(lambda asked: {**_zone(asked), "slug": new_name()}, done=done(201)),),
    ("api:organization", "PATCH"): (Deed(_zone, "organization.change"), Deed(_limit, "limits.change")),
    ("api:organization", "DELETE"): (Deed(right="organization.close", done=done(204, STATE)),),
    ("api:member", "PATCH"): (
        Deed(_to("billing"), "members.change", of=PLAIN),
        Deed(_to("owner"), "owners.change", of=PLAIN),
        Deed(_to("admin"), "owners.change", of=OWNER),
    ),
    ("api:member", "DELETE"): (
        Deed(right="members.change", done=GONE, of=PLAIN),
        Deed(right="owners.change", done=GONE, of=OWNER),
    ),
    ("api:invitations", "POST"): (Deed(_invited, "members.invite", done(201)),),
    ("api:invitation", "DELETE"): (Deed(right="members.invite", done=GONE),),
    ("api:invitation-resend", "POST"): (Deed(right="members.invite"),),
    ("api:organization-leave", "POST"): (Deed(right="organization.leave", done=GONE),),
    ("api:organization-transfer", "POST"): (
        Deed(lambda asked: {"member_id": asked.house.members["member"].public_id}, "owners.change"),
    ),
    ("api:invitation-accept", "POST"): (Deed(lambda asked: {"token": "0" * 43}, done=done(422)),),
    ("api:usage-confirmations", "POST"): (Deed(lambda asked: {}, done=done(401)),),  # which nobody has signed
    ("api:key-leaks", "POST"): (Deed(lambda asked: {}, done=done(401)),),  # which nobody has signed
    ("api:keys", "POST"): (
        Deed(lambda asked: {"name": "nightly", "permissions": [asked.permission]}, "keys.make", done(201)),
    ),
    ("api:key", "PATCH"): (Deed(lambda asked: {"name": "renamed", **_limit(asked)}, "keys.manage"),),
    ("api:key", "DELETE"): (Deed(right="keys.manage", done=GONE),),
    ("api:key-rotate", "PUT"): (Deed(lambda asked: {"overlap_seconds": 60}, "keys.manage"),),
    ("api:models", "POST"): (Deed(_listing, "models.publish", done(201)),),
    ("api:model", "PUT"): (Deed(_listing, "models.publish"),),
    ("api:model", "DELETE"): (Deed(right="models.publish", done=GONE),),
    ("api:model-versions", "POST"): (Deed(lambda asked: WORDS, "models.publish", done(201, STATE)),),
    ("api:model-version-sunset", "PUT"): (  # the current one ends with its model
        Deed(lambda asked: {"sunset_on": "2099-01-01"}, "models.publish", done(422)),
    ),
    ("api:model-prices", "POST"): (Deed(lambda asked: {"type": "free"}, "models.publish", done(201)),),
    ("api:model-price", "DELETE"): (Deed(right="models.publish", done=done(422)),),  # what is in force stays
    ("api:model-submit", "POST"): (Deed(right="models.publish", done=done(200, STATE)),),
    ("api:model-publish", "POST"): (Deed(right="models.publish", done=done(200, STATE)),),
    ("api:model-deprecate", "POST"): (Deed(right="models.publish", done=done(200, STATE)),),
    ("api:model-endpoint", "PUT"): (
        Deed(lambda asked: {"url": asked.house.ground.upstream.url, "protocol": "json"}, "models.publish"),
    ),
    ("api:model-check", "POST"): (Deed(right="models.publish", done=done(202, STATE, 429)),),
    ("api:model-saved", "PUT"): (Deed(done=GONE),),
    ("api:model-saved", "DELETE"): (Deed(done=GONE),),
    ("api:files", "POST"): (Deed(_file, "models.publish", done(201, STATE)),),
    ("api:file", "DELETE"): (Deed(right="models.publish", done=GONE),),
    ("api:file-complete", "POST"): (Deed(right="models.publish"),),
    # The review that is named is nobody's here, and nobody here has called the model, or they publish it.
    ("api:reviews", "POST"): (Deed(_review, done=done(403, 404)),),
    ("api:review", "PUT"): (Deed(_review, done=done(403)),),
    ("api:review", "DELETE"): (Deed(done=done(204, 403)),),  # staff hide it
    ("api:review-reply", "POST"): (Deed(_words, "models.publish"),),
    ("api:review-reply", "DELETE"): (Deed(right="models.publish", done=GONE),),
    ("api:review-helpful", "POST"): (Deed(done=done(200, 403)),),
    ("api:review-helpful", "DELETE"): (Deed(done=GONE),),
    ("api:review-report", "POST"): (Deed(_report, done=done(201)),),
    ("api:model-report", "POST"): (Deed(_report, done=done(201)),),
    ("api:deployments", "POST"): (Deed(_deployment, "deployments.change", done(201)),),
    ("api:deployment", "PATCH"): (
        Deed(lambda asked: {"status": "paused", "rate_limit": 60, **_limit(asked)}, "deployments.change"),
    ),
    ("api:deployment", "DELETE"): (Deed(right="deployments.change", done=GONE),),
    # What the gateway answers itself.
    ("api:model-invoke", "POST"): (Deed(lambda asked: {"text": "x"}, "models.call"),),
    ("api:v1-chat-completions", "POST"): (
        Deed(lambda asked: {"model": "house/nothing", "messages": []}, "models.call", done(404)),
    ),
    ("api:v1-completions", "POST"): (
        Deed(lambda asked: {"model": "house/nothing", "prompt": "x"}, "models.call", done(404)),
    ),
    ("api:v1-predictions", "POST"): (
        Deed(lambda asked: {"model": "house/nothing", "input": {}}, "models.call", done(404)),
    ),
    ("api:v1-prediction-cancel", "POST"): (Deed(done=done(200, STATE)),),
    ("api:v1-embeddings", "POST"): (
        Deed(lambda asked: {"model": "house/nothing", "input": "x"}, "models.call", done(404)),
    ),
    ("api:v1-messages", "POST"): (
        Deed(lambda asked: {"model": "house/nothing", "messages": [], "max_tokens": 5}, "models.call", done(404)),
    ),
}

THERE = done(302)
ANYTHING = done(200, 302, 303, 400, 404, 405, 409, 410, 422)

#: Of the pages, which answer a form with another page, and POST alone.
PAGES: Mapping[str, Sequence[Deed]] = {
    "keys": (Deed(_key_form, "keys.make"),),
    "key": (Deed(_edited_key, "keys.manage", THERE),),
    "key-rotate": (
        Deed(
            lambda asked: {"overlap_seconds": "0", "shown": str(asked.thing.object) if asked.thing else ""},
            "keys.manage",
        ),
    ),
    "key-revoke": (Deed(right="keys.manage", done=THERE),),
    "publish-new": (Deed(_basics, "models.publish", THERE),),
    "publish-basics": (Deed(_basics, "models.publish", THERE),),
    "publish-endpoint": (
        Deed(
            lambda asked: {"url": "https://models.example.org/v1", "protocol": "json", "timeout_seconds": "9"},
            "models.publish",
            THERE,
        ),
    ),
    "publish-test": (Deed(right="models.publish", done=done(302, STATE, 429)),),
    "publish-price": (Deed(lambda asked: {"type": "free", "period": ""}, "models.publish", THERE),),
    "publish-review": (Deed(lambda asked: {"act": "submit"}, "models.publish", done(302, 422)),),
    "publish-media": (Deed(lambda asked: {"kind": "logo"}, "models.publish", done(422)),),  # without a file
    "publish-logo": (Deed(lambda asked: {"kind": "logo"}, "models.publish", done(422)),),
    "api:upload": (Deed(done=done(409, 411)),),  # of a length that is not said
    "deployments": (Deed(_deployment_form, "deployments.change", THERE),),
    "deployment": (Deed(lambda asked: {"act": "pause"}, "deployments.change", THERE),),
    "model-save": (Deed(done=THERE),),
    "reviews": (Deed(_review, done=done(403, 404)),),
    "review": (Deed(_review, done=done(403)),),
    "review-delete": (Deed(done=done(403)),),
    "review-helpful": (Deed(done=done(302, 403)),),
    "review-reply": (Deed(_words, "models.publish", THERE),),
    "review-report": (Deed(_report, done=THERE),),
    "model-report": (Deed(_report, done=THERE),),
    "profile": (Deed(lambda asked: {"name": "Renamed", "organization_name": "Renamed too"}, done=THERE),),
    "developer": (Deed(lambda asked: {"reason": "To publish."}, done=done(200, 302)),),
    "sessions": (Deed(done=THERE),),
    "account-export": (Deed(),),
    "account-delete": (Deed(_person, done=done(302, 422)),),
    "organization": (
        Deed(_zone, "organization.change", THERE),
        Deed(lambda asked: {"act": "limit", "amount": "5", "window": "day"}, "limits.change", THERE),
    ),
    "organization-close": (Deed(right="organization.close", done=done(302, STATE)),),
    "organization-new": (Deed(lambda asked: {**_zone(asked), "slug": new_name()}, done=THERE),),
    "organization-switch": (Deed(lambda asked: {"organization": asked.caller.organization.public_id}, done=THERE),),
    "members": (Deed(_invited, "members.invite", THERE),),
    "members-leave": (Deed(right="organization.leave", done=done(302, STATE)),),
    "members-transfer": (
        Deed(lambda asked: {"member": asked.house.members["member"].pk}, "owners.change", done(302, 422)),
    ),
    "member": (
        Deed(_to("billing"), "members.change", THERE, PLAIN),
        Deed(_to("owner"), "owners.change", done(302, 422), PLAIN),
        Deed(_to("admin"), "owners.change", THERE, OWNER),
    ),
    "member-remove": (
        Deed(right="members.change", done=THERE, of=PLAIN),
        Deed(right="owners.change", done=THERE, of=OWNER),
    ),
    "invitation-change": (
        Deed(lambda asked: {"act": "revoke"}, "members.invite", THERE),
        Deed(lambda asked: {"act": "again"}, "members.invite", THERE),
    ),
    "preferences": (Deed(lambda asked: {"theme": "dark", "code": "curl", "time_zone": "Europe/Berlin"}, done=THERE),),
    "checklist": (Deed(done=THERE),),
    "playground": (Deed(lambda asked: {"input.text": "x"}, "models.call"),),
    # Whoever holds the link; here nobody does.
    "invitation": (Deed(done=done(302, 403, 404, 422)),),
    "reopen": (Deed(done=done(410)),),
    "not-me": (Deed(done=done(410)),),
    # allauth's, which have their own tests; here nobody gets through who may not.
    "account_*": (Deed(done=ANYTHING),),
    "mfa_*": (Deed(done=ANYTHING | done(403)),),
    "socialaccount_*": (Deed(done=ANYTHING),),
    "openid_connect_*": (Deed(done=ANYTHING),),
    "admin:*": (Deed(done=ANYTHING | done(403)),),
}

#: What takes a right to look at, beyond what the access policy asks.
LOOKS: Mapping[str, str] = {
    "api:model-check": "models.publish",
    "api:invitations": "members.invite",
    "key-rotate": "keys.manage",
    "key-revoke": "keys.manage",
    "members-transfer": "owners.change",
    "member-remove": "members.change",
    "organization-close": "organization.close",
}
#: What of others' things staff with this permission may do as well.
STAFF: Mapping[tuple[str, str], str] = {
    ("api:model-publish", "POST"): "marketplace.change_aimodel",
    ("api:model-endpoint", "GET"): "gateway.view_endpoint",
    ("api:model-endpoint", "PUT"): "gateway.change_endpoint",
    ("api:model-check", "GET"): "gateway.view_endpoint",
    ("api:model-check", "POST"): "gateway.change_endpoint",
}


def deeds_at(name: str, method: str, *, is_api: bool) -> Sequence[Deed]:
    """None for what takes nothing."""
    if is_api:
        return API.get((name, method), ())
    if method != "POST":
        return ()
    return PAGES.get(name) or next((PAGES[one] for one in PAGES if "*" in one and fnmatchcase(name, one)), ())
