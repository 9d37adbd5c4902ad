"""What programs change at the API, each once, as T42 wants to see it recorded."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from accounts import services as accounts
from accounts.models import Membership, User
from accounts.services import codes
from common.clock import now
from common.ids import decode
from trust import world
from trust.audited import Deeds, Person, Trace
from trust.http import Client

DRAFT = {
    "name": "Shouter",
    "description": "Says it louder.",
    "version": "1.0.0",
    "category": "other",
    "api_spec": {"input": world.TEXT_IN, "output": world.LABEL_OUT},
    "pricing": {"type": "free"},
}
NEW_PASSWORD = "an altogether new password 7"
PARTNER = "scanner"


def walk(deeds: Deeds, partner: Any) -> None:
    """partner: who signs a report of a leak."""
    _sign_in(deeds)
    _organizations(deeds)
    _keys(deeds, partner)
    _models(deeds)
    _deployments(deeds)


def _sign_in(deeds: Deeds) -> None:
    email = world.new_address()
    deeds.secrets |= {world.PASSWORD, NEW_PASSWORD}
    body: dict[str, Any] = {"email": email, "password": world.PASSWORD, "name": "Ada"}
    deeds.api(None, "POST", "api:register", body=body, act="account.registered", says="after", by=email)
    code = code_in(world.newest_mail(email))
    body = {"email": email, "code": code}
    deeds.api(None, "POST", "api:verify-email", body=body, act="account.email_verified", says="after", by=email)
    body = {"email": email, "password": world.PASSWORD}
    pair = deeds.api(None, "POST", "api:login", body=body, act="account.logged_in", says="after", by=email).json
    Client(deeds.web.url).post("/api/auth/login/code", {"email": email})
    login_code = code_in(world.newest_mail(email))
    body = {"email": email, "code": login_code}
    deeds.api(None, "POST", "api:login-code-confirm", body=body, act="account.logged_in", says="after", by=email)
    body = {"refresh": pair["refresh"]}
    deeds.api(None, "POST", "api:logout", body=body, act="account.logged_out", says="before", by=email)
    token = codes.issue_reset_token(user=User.objects.get(email=email), email=email, at=now())
    body = {"token": token, "password": NEW_PASSWORD}
    deeds.api(None, "POST", "api:password-reset-confirm", body=body, act="account.password_reset", by=email)
    deeds.secrets |= {code, login_code, token, pair["access"], pair["refresh"]}
    person = deeds.person()
    deeds.api(person, "PATCH", "api:me", body={"name": "Countess"}, act="account.changed", says="before after")
    deeds.api(person, "POST", "api:become-developer", body={}, act="developer.requested")


def _organizations(deeds: Deeds) -> None:
    owner, other, third = deeds.person(), deeds.person(), deeds.person()
    act = "organization.{}".format
    made = deeds.api(owner, "POST", "api:organizations", body={"name": "Ours"}, act=act("created"), says="after").json
    id = _uuid(made["id"])
    body: dict[str, Any] = {"name": "Ours too"}
    deeds.api(owner, "PATCH", "api:organization", id, body=body, act=act("changed"), says="before after")
    for amount, says in (("5.00", "after"), ("6.00", "before after")):
        body = {"spend_limit": {"amount": amount}}
        deeds.api(owner, "PATCH", "api:organization", id, body=body, act=act("limit_changed"), says=says)
    body = {"email": other.user.email, "role": "developer"}
    asked = deeds.api(owner, "POST", "api:invitations", id, body=body, act=act("member_invited"), says="after").json
    invitation = _uuid(asked["id"])
    deeds.api(
        owner, "POST", "api:invitation-resend", id, invitation, body={}, act=act("invitation_resent"), says="after"
    )
    token = invitation_token(deeds, other)
    body = {"token": token}
    deeds.api(other, "POST", "api:invitation-accept", body=body, act=act("member_joined"), says="after")
    body = {"email": third.user.email}
    asked = deeds.api(owner, "POST", "api:invitations", id, body=body, act=act("member_invited"), says="after").json
    invitation = _uuid(asked["id"])
    deeds.api(owner, "DELETE", "api:invitation", id, invitation, act=act("invitation_revoked"), says="after")
    place = Membership.objects.get(organization=id, user=other.user)
    body = {"role": "admin"}
    deeds.api(owner, "PATCH", "api:member", id, place.pk, body=body, act=act("role_changed"), says="before after")
    body = {"member_id": place.public_id}
    deeds.api(
        owner,
        "POST",
        "api:organization-transfer",
        id,
        body=body,
        act=act("ownership_transferred"),
        says="before after",
    )
    deeds.api(owner, "POST", "api:organization-leave", id, body={}, act=act("member_left"), says="before")
    joined = accounts.add_member(organization=place.organization, user=third.user, role="member")
    deeds.api(other, "DELETE", "api:member", id, joined.pk, act=act("member_removed"), says="before")
    deeds.api(other, "DELETE", "api:organization", id, act=act("closed"))


def invitation_token(deeds: Deeds, person: Person) -> str:
    """In the newest mail to somebody."""
    found = re.search(r"/invitations/(\S+)", world.newest_mail(person.user.email))
    token = found[1] if found else ""
    deeds.secrets.add(token)
    return token


def code_in(text: str) -> str:
    """The code that stands on a line of its own in a mail."""
    found = re.search(r"^([A-Z0-9]{6,8})\r?$", text, re.MULTILINE)
    return found[1] if found else ""


def _keys(deeds: Deeds, partner: Any) -> None:
    person = deeds.person()
    made = deeds.api(person, "POST", "api:keys", body={"name": "till"}, act="key.created", says="after").json
    id = _uuid(made["id"])
    body: dict[str, Any] = {"name": "register", "spend_limit": {"amount": "5.00"}}
    deeds.api(person, "PATCH", "api:key", id, body=body, act="key.changed", says="before after")
    body = {"overlap_seconds": 60}
    rolled = deeds.api(person, "PUT", "api:key-rotate", id, body=body, act="key.rotated", says="before after").json
    deeds.api(person, "DELETE", "api:key", id, act="key.revoked", says="before")
    _key, leaked = world.make_key(person.user)
    deeds.secrets |= {made["key"], rolled["key"], leaked}
    raw = json.dumps([{"token": leaked, "type": "agorai_live", "url": "https://git.example.org/acme"}]).encode()
    headers = {
        "Github-Public-Key-Identifier": PARTNER,
        "Github-Public-Key-Signature": partner.sign(raw),
    }
    answer = Client(deeds.web.url)("POST", "/api/keys/leaks", raw=raw, **headers)
    deeds.look("POST api:key-leaks", answer, Trace("key.leaked", "after"))


def _models(deeds: Deeds) -> None:
    publisher, upstream = deeds.person(platform_role="developer"), deeds.context.ground.upstream.url
    draft = deeds.api(publisher, "POST", "api:models", body=DRAFT, act="model.created", says="after").json["id"]
    deeds.api(publisher, "DELETE", "api:model", draft, act="model.deleted", says="before")
    ref = deeds.api(publisher, "POST", "api:models", body=DRAFT, act="model.created", says="after").json["id"]
    body: dict[str, Any] = {**DRAFT, "name": "Whisperer"}
    deeds.api(publisher, "PUT", "api:model", ref, body=body, act="model.changed", says="before after")
    body = {**DRAFT, "pricing": {"type": "paid", "rates": {"per_call": "0.002"}}}
    deeds.api(publisher, "PUT", "api:model", ref, body=body, act="model.price_changed", says="before after")
    body = {"type": "paid", "rates": {"per_call": "0.003"}, "effective_from": "2099-01-01T00:00:00Z"}
    says = "before after"
    later = deeds.api(publisher, "POST", "api:model-prices", ref, body=body, act="model.price_changed", says=says).json
    deeds.api(
        publisher, "DELETE", "api:model-price", ref, _uuid(later["id"]), act="model.price_withdrawn", says="before"
    )
    for path in ("/shout", "/whisper"):
        secret = f"upstream-{secrets.token_hex(8)}"
        deeds.secrets.add(secret)
        body = {"url": f"{upstream}{path}", "protocol": "json", "secret": secret}
        says = "after" if path == "/shout" else "before after"
        deeds.api(publisher, "PUT", "api:model-endpoint", ref, body=body, act="model.endpoint_set", says=says)
    deeds.api(publisher, "POST", "api:model-check", ref, body={}, act="model.check_asked", says="after")
    body = {"version": "1.1.0", "api_spec": DRAFT["api_spec"]}
    deeds.api(publisher, "POST", "api:model-versions", ref, body=body, act="model.version_added", says="before after")
    body = {"url": f"{upstream}/shout", "protocol": "json"}
    publisher.api.put(f"/api/models/{ref}/endpoint", body)  # of the new version
    for step, act in (("submit", "submitted"), ("publish", "published"), ("deprecate", "deprecated")):
        deeds.api(publisher, "POST", f"api:model-{step}", ref, body={}, act=f"model.{act}", says="before after")
        if step == "publish":
            publisher.api.post(f"/api/models/{ref}/versions", {"version": "1.2.0", "api_spec": DRAFT["api_spec"]})
            day, act = {"sunset_on": "2099-01-01"}, "model.version_sunset_set"
            deeds.api(
                publisher, "PUT", "api:model-version-sunset", ref, "1.1.0", body=day, act=act, says="before after"
            )


def _deployments(deeds: Deeds) -> None:
    person, ai_model = deeds.person(), world.make_model(deeds.context.ground)
    body: dict[str, Any] = {"name": "support", "model_id": ai_model.public_id}
    made = deeds.api(person, "POST", "api:deployments", body=body, act="deployment.created", says="after").json
    id = _uuid(made["id"])
    body = {"status": "paused", "spend_limit": {"amount": "5.00"}}
    deeds.api(person, "PATCH", "api:deployment", id, body=body, act="deployment.changed", says="before after")
    deeds.api(person, "DELETE", "api:deployment", id, act="deployment.deleted", says="before")


def _uuid(text: str) -> Any:
    return decode(text.partition("_")[0], text)
