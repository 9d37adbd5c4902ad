"""The life of people who have everything that is secret, lived through the front door: for T16.

To be imported inside `run`.
"""

from __future__ import annotations

import html
import re
import secrets
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings

from accounts import services as accounts
from tests.client import Answer, Client, code_in
from tests.pages.visitor import Visitor, one_time_code
from trust import world
from trust.canaries import Secret, api_key, token
from trust.ground import Ground

ANYTHING = {"input": {"type": "object"}, "output": {"type": "object"}}
KEY_FORM = {"name": "page", "mode": "live", "access": "all", "expires": "90", "window": "month", "spend_limit": "5"}
LINKS = {  # by the word in the mail's address: what it is
    "password/reset/key": "a link for a new password",
    "not-me": "a link “this was not me”",
    "reopen": "a link back into a closed account",
    "invitations": "an invitation",
}


@dataclass(slots=True)
class Life:
    """What came of it. `shown`: the answers that rightly showed a secret."""

    ground: Ground
    url: str
    upstream: str  # the address that models are at
    secrets: list[Secret] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    shown: list[Answer] = field(default_factory=list)
    email: str = ""
    password: str = ""
    models: dict[str, str] = field(default_factory=dict)  # by kind, how a call names it
    pages: list[str] = field(default_factory=list)  # that a session sees

    def keep(self, *secrets: Secret) -> None:
        self.secrets += secrets

    def live(self) -> None:
        self._sign_up()
        self._hold_keys()
        self._browse()
        self._publish()
        self._get_mails()

    # --- A program ---

    def _sign_up(self) -> None:
        self.email, self.password = world.new_address(), _password()
        client = Client(self.url)
        body = {"email": self.email, "password": self.password, "name": "Ada"}
        _good(client.post("/api/auth/register", body), 202)
        code = code_in(self.ground.mails(self.email)[0])
        self.keep(Secret("a password", self.password))
        self.keep(Secret("a code that proved an address", code, mailed_to=self.email, is_code=True))
        pair = self._tokens(
            "after signing up", client.post("/api/auth/verify-email", {"email": self.email, "code": code})
        )
        pair = self._tokens("refreshed", client.post("/api/auth/refresh", {"refresh": pair["refresh"]}))
        login = {"email": self.email, "password": self.password}
        for name in ("of a second log-in", "of a third log-in"):
            self._tokens(name, client.post("/api/auth/login", login))
        _good(client.post("/api/auth/login/code", {"email": self.email}), 202)
        code = code_in(self.ground.mails(self.email)[-1])
        self.keep(Secret("a code to log in with", code, mailed_to=self.email, is_code=True))

    def _tokens(self, name: str, answer: Answer) -> Any:
        _good(answer, 200)
        self.shown.append(answer)
        self.keep(token(f"an access token {name}", answer.json["access"]))
        self.keep(
            Secret(
                f"a refresh token {name}", answer.json["refresh"], core=answer.json["refresh"].removeprefix("agr_rt_")
            )
        )
        return answer.json

    def _hold_keys(self) -> None:
        login = Client(self.url).post("/api/auth/login", {"email": self.email, "password": self.password})
        person = Client(self.url, self._tokens("of who makes keys", login)["access"])
        for name, values in (
            ("in use", {}),
            ("for tests", {"mode": "test"}),
            ("that may little", {"permissions": ["models:read"]}),
            ("that was revoked", {}),
            ("from before a rotation", {}),
        ):
            made = _good(person.post("/api/keys", {"name": name, **values}), 201)
            self.shown.append(made)
            self.keep(api_key(f"a key {name}", made.json["key"]))
            if name == "that was revoked":
                _good(person.delete(f"/api/keys/{made.json['id']}"), 204)
            if name == "from before a rotation":
                rotated = _good(person.put(f"/api/keys/{made.json['id']}/rotate", {"overlap_seconds": 600}), 200)
                self.shown.append(rotated)
                self.keep(api_key("a key after a rotation", rotated.json["key"]))

    # --- A browser ---

    def _browse(self) -> None:
        visitor = self._enter(self.email, self.password, "of a browser")
        made = visitor.submit("/keys?new", **KEY_FORM)
        (secret,) = set(re.findall(r"agr_live_[0-9A-Za-z]{38}", made.text))
        self.shown.append(Answer(made.status, made.headers, made.body))
        self.keep(api_key("a key made on a page", secret))
        activation = visitor.get("/accounts/2fa/totp/activate/")
        (secret,) = set(re.findall(r"\b[A-Z2-7]{32}\b", activation.text))
        self.keep(Secret("an authenticator app's secret", secret))
        _good(visitor.fill(activation, code=one_time_code(secret)), 302)
        codes = Authenticator.objects.get(user__email=self.email, type="recovery_codes")
        self.keep(Secret("the seed of recovery codes", accounts.open_secret(codes.data["seed"])))
        for number, code in enumerate(codes.wrap().get_unused_codes()[:3]):
            self.keep(Secret(f"recovery code {number}", code, is_code=True))
        other = world.make_person()
        undecided = self._enter(other.email, world.PASSWORD, "of somebody else")
        waiting = undecided.get("/accounts/2fa/totp/activate/")
        (secret,) = set(re.findall(r"\b[A-Z2-7]{32}\b", waiting.text))
        self.keep(Secret("an authenticator app's secret that waits for its first code", secret))
        self._follow_a_reset_link()
        self._come_from_a_provider()

    def _enter(self, email: str, password: str, name: str) -> Visitor:
        visitor = Visitor(self.url, email=email, password=password)
        visitor.log_in()
        visitor.confirm()
        self._keep_session(visitor, name)
        device = visitor.cookies[settings.DEVICE_COOKIE_NAME]
        self.keep(Secret(f"the device cookie {name}", device, core=device.rpartition(":")[2]))
        return visitor

    def _keep_session(self, visitor: Visitor, name: str) -> None:
        session = visitor.cookies[settings.SESSION_COOKIE_NAME]
        self.sessions.append(f"{settings.SESSION_COOKIE_NAME}={session}")
        self.keep(Secret(f"the session {name}", session))

    def _follow_a_reset_link(self) -> None:
        """Its secret waits in the session until the new password is typed."""
        email = world.make_person().email
        visitor = Visitor(self.url)
        _good(visitor.submit("/accounts/password/reset/", email=email), 302)
        path = _links(self.ground, email)["password/reset/key"]
        _good(visitor.get(path), 302)
        self._keep_session(visitor, "in which somebody sets a password")

    def _come_from_a_provider(self) -> None:
        """With a code that the provider then refuses."""
        visitor = Visitor(self.url)
        (action,) = set(re.findall(r'action="(/accounts/oidc/[^"]+)', visitor.get("/accounts/login/").text))
        token = {"csrfmiddlewaretoken": visitor.cookies[settings.CSRF_COOKIE_NAME]}
        sent = visitor.send("POST", html.unescape(action), token)
        (state,) = set(re.findall(r"[?&;]state=([\w-]+)", html.unescape(f"{sent.headers.get('location')} {sent.text}")))
        code = _chance()
        self.keep(Secret("a provider's code", code), Secret("the state of a log-in", state))
        back = visitor.get(
            f"{action.partition('?')[0]}callback/?{urllib.parse.urlencode({'code': code, 'state': state})}"
        )
        if back.status >= 500:
            raise RuntimeError(f"A provider's refusal is answered {back.status}")

    # --- A publisher ---

    def _publish(self) -> None:
        user = world.make_person(platform_role="developer")
        self.keep(token("a publisher's access token", accounts.open_family(user=user, client="trust").access))
        person = Client(self.url, self.secrets[-1].text)
        for kind, protocol, header in (
            ("bearer", "json", "Authorization"),
            ("header", "json", "X-Model-Key"),
            ("chat", "openai", "Authorization"),
        ):
            values = {"description": "Sings.", "version": "1.0.0", "category": "other", "pricing": {"type": "free"}}
            model = _good(
                person.post("/api/models", {"name": f"Canary {kind}", "api_spec": ANYTHING, **values}), 201
            ).json
            path = f"/api/models/{model['id']}"
            old, secret = (f"{'sk-proj' if kind == 'chat' else 'upstream'}-{_chance()}" for _ in range(2))
            for given in (old, secret):
                endpoint = {"url": f"{self.upstream}/{kind}", "protocol": protocol, "timeout_seconds": 1}
                put = person.put(f"{path}/endpoint", {**endpoint, "auth_header": header, "secret": given})
                _good(put, 200)
            self.keep(Secret(f"an upstream's former secret ({kind})", old))
            self.keep(Secret(f"an upstream's secret ({kind})", secret))
            self.keep(Secret(f"a signing secret ({kind})", put.json["signing_secret"].removeprefix("whsec_")))
            self.shown.append(put)
            _good(person.post(f"{path}/submit"), 200)
            _good(person.post(f"{path}/publish"), 200)
            self.models[kind] = model["id"] if protocol == "json" else f"{model['publisher']['slug']}/{model['slug']}"
        accounts.revoke_all(user=user, reason="trust")  # a request that happens to be right would move an endpoint

    # --- Mails ---

    def _get_mails(self) -> None:
        """One of each kind that holds something which opens a door."""
        forgetful, leaving = world.make_person(), world.make_person()
        _good(Client(self.url).post("/api/auth/password/reset", {"email": forgetful.email}), 202)
        accounts.change_password(user=forgetful, password=f"{world.PASSWORD} 2")
        accounts.close_account(user=leaving)
        guest = world.new_address()
        owner = world.make_person()
        shared = accounts.create_organization(owner=owner, name="Shared")
        accounts.invite_member(organization=shared, by=owner, email=guest, role="member")
        _good(Client(self.url).post("/api/auth/password/reset", {"email": owner.email}), 202)
        self.ground.mails()
        for email in (forgetful.email, leaving.email, guest, owner.email):
            for kind, path in _links(self.ground, email).items():
                secret = path.rstrip("/").rpartition("/")[2]
                core = secret.rpartition("-" if kind == "password/reset/key" else ":")[2]
                self.keep(Secret(f"{LINKS[kind]} to {email[:8]}", secret, core=core, mailed_to=email))
        waiting = world.new_address()
        body = {"email": waiting, "password": _password(), "name": "Bob"}
        self.keep(Secret("the password of somebody who is not verified", body["password"]))
        _good(Client(self.url).post("/api/auth/register", body), 202)
        code = code_in(self.ground.mails(waiting)[0])
        self.keep(Secret("a code that waits", code, mailed_to=waiting, is_code=True))


def _links(ground: Ground, email: str) -> dict[str, str]:
    """The paths of the newest links in the mails to this address, by kind."""
    found: dict[str, str] = {}
    for mail in ground.mails(email):
        part = mail.get_body(("plain",))
        for url in re.findall(r"https?://\S+", part.get_content() if part is not None else ""):
            path = urllib.parse.urlsplit(url).path
            found |= {kind: path for kind in LINKS if f"/{kind}/" in path}
    return found


def _good(answer: Any, status: int) -> Any:
    if answer.status != status:
        raise RuntimeError(f"What should be answered {status} is answered {answer.status}: {answer.body[:300]!r}")
    return answer


def _chance() -> str:
    return secrets.token_hex(20)


def _password() -> str:
    """Of letters that no address here has: one that resembled it would be refused."""
    return "".join(secrets.choice("ghjkmnpqrstuvwxyz") for _ in range(40))
