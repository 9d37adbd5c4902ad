"""Requests with a secret in some place of them, most of them faulty: for T16."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from trust.canaries import Secret
from trust.http import Request
from trust.life import Life

CSRF = "c" * 32
TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,300}")  # what may be a header's name
KNOWN_BY_SIGHT = (
    "agr_",
    "eyJ",
    "sk_",
    "sk-",
)  # how secrets begin that are masked wherever somebody else's words are kept
METHODS = ("GET", "POST", "POST", "POST", "PUT", "PATCH", "DELETE")
TYPES = (
    "text/plain",
    "application/json; charset=latin-1",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "",
)
OF_THE_WAY = {
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Host": "elsewhere.example",
    "X-Forwarded-Proto": "https",
    "Forwarded": "for=198.51.100.7",
    "X-Real-IP": "198.51.100.7",
    "Proxy-Authorization": "Basic eDp5",
    "TE": "trailers",
    "Keep-Alive": "timeout=5",
    "X-Debug": "1",
}
API = (
    "/api/auth/login",
    "/api/auth/login/code/confirm",
    "/api/auth/refresh",
    "/api/auth/logout",
    "/api/auth/verify-email",
    "/api/auth/register",
    "/api/auth/password/reset",
    "/api/auth/password/reset/confirm",
    "/api/auth/me",
    "/api/invitations/accept",
    "/api/organizations",
    "/api/keys",
    "/api/keys/leaks",
    "/api/limits",
    "/api/requests",
    "/api/analytics/usage",
    "/api/audit-events",
    "/api/models",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/openapi.json",
)
PAGES = (
    "/",
    "/keys",
    "/models",
    "/search",
    "/usage",
    "/requests",
    "/settings/profile",
    "/settings/sessions",
    "/settings/security-log",
    "/settings/audit",
    "/settings/api-log",
    "/settings/members",
    "/settings/developer",
    "/docs/errors",
    "/admin/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/login/code/",
    "/accounts/password/reset/",
    "/accounts/password/change/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/authenticate/",
    "/accounts/email/",
    "/accounts/confirm-email/",
)
NAMED = (  # with the secret in them
    "/{}",
    "/api/{}",
    "/v1/{}",
    "/v1/models/{}",
    "/api/keys/{}",
    "/api/models/{}",
    "/api/models/{}/invoke",
    "/api/requests/{}",
    "/models/{}/{}",
    "/invitations/{}",
    "/accounts/not-me/{}",
    "/accounts/reopen/{}",
    "/accounts/password/reset/key/{}/",
    "/accounts/oidc/{}/login/",
    "/static/{}",
)


@dataclass(slots=True)
class Shot:
    """typed: the secrets that its sender put where a page shows again what was typed."""

    path: str
    request: Request
    typed: set[str] = field(default_factory=set)

    @property
    def is_page(self) -> bool:
        return not self.path.startswith(("/api/", "/v1/"))


class Shooter:
    def __init__(self, life: Life) -> None:
        self._life = life
        self._known = [one for one in life.secrets if one.text.startswith(KNOWN_BY_SIGHT)]
        self._key = next(one.text for one in life.secrets if one.name == "a key in use")

    def shot(self, random: Random, url: str) -> Shot:
        if random.random() < 0.2:
            return self._call(random, url)
        secret = random.choice(self._life.secrets)
        path, typed = self._path(random, secret)
        headers = self._headers(random, secret)
        method = random.choice(METHODS)
        shot = Shot(path.partition("?")[0], Request(method, url + path, headers=headers), typed)
        raw = None if method == "GET" else self._body(random, secret, shot, headers)
        shot.request = Request(method, url + path, headers=headers, raw=raw)
        return shot

    def _call(self, random: Random, url: str) -> Shot:
        """A good call of a model, from somebody who sends more than is asked for."""
        secret = random.choice(self._life.secrets)
        kind = random.choice(sorted(self._life.models))
        model = self._life.models[kind]
        headers = {name: OF_THE_WAY[name] for name in random.sample(sorted(OF_THE_WAY), 4)}
        headers |= {"Authorization": f"Bearer {self._key}", "Cookie": random.choice(self._life.sessions)}
        if kind == "chat":
            path = "/v1/chat/completions"
            body: Any = {"model": model, "messages": [{"role": "user", "content": secret.text}]}
            body["stream"] = random.random() < 0.5
        else:
            path, body = f"/api/models/{model}/invoke", {"text": secret.text}
        return Shot(path, Request("POST", url + path, body, headers=headers))

    # --- Its parts ---

    def _path(self, random: Random, secret: Secret) -> tuple[str, set[str]]:
        """And the secrets in it: a page has links to itself."""
        quoted = quote(secret.text, safe="")
        if random.random() < 0.3:
            return random.choice(NAMED).replace("{}", quoted), {secret.name}
        path = random.choice(random.choice([API, PAGES]))
        if random.random() > 0.4:
            return path, set()
        if random.random() < 0.15:
            named = self._seen(random)
            return f"{path}?{quote(named.text, safe='')}={quoted}", {secret.name, named.name}
        name = random.choice(["q", "token", "cursor", "limit", "key", "next"])
        return f"{path}?{name}={quoted}", {secret.name}

    def _seen(self, random: Random) -> Secret:
        """For the name of a field: who misspells one is told so, but for what is a secret at first sight."""
        return random.choice(self._known)

    def _headers(self, random: Random, secret: Secret) -> dict[str, str]:
        text = secret.text
        headers: dict[str, str] = {}
        basic = base64.b64encode(f"x:{text}".encode()).decode()
        credentials = [f"Bearer {text}", f"Bearer {text}x", f"Bearer {text[:-1]}", f"Basic {basic}", f"Token {text}"]
        match random.randrange(6):
            case 0:
                headers["Authorization"] = random.choice([*credentials, text, f"bearer  {text} {text}"])
            case 1:
                headers["Authorization"] = f"Bearer {self._key}"
            case 2:
                headers["X-API-Key"] = text
            case 3:
                headers["Cookie"] = random.choice(["session", "csrf", "device", "x"]) + f"={text}"
            case 4:
                headers["Cookie"] = f"{random.choice(self._life.sessions)}; csrf={CSRF}"
        if random.random() < 0.3:
            name = random.choice(
                ["X-Debug", "Agorai-Organization", "Referer", "Accept-Language", "Origin", "Host", "Range"]
            )
            headers[name] = text
        if random.random() < 0.2:  # what a caller says about itself is kept
            name = random.choice(["User-Agent", "X-Client-Request-Id", "X-Request-Id"])
            headers[name] = f"{random.choice(['', 'app/1.0 '])}{random.choice(self._known).text}"
        if random.random() < 0.1 and TOKEN.fullmatch(text):
            headers[text] = text
        if random.random() < 0.1:
            headers["Accept"] = random.choice(["text/html", "text/csv", text, "*/*"])
        return headers

    def _body(self, random: Random, secret: Secret, shot: Shot, headers: dict[str, str]) -> bytes:
        text = secret.text
        if shot.is_page or random.random() < 0.1:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return self._form(random, secret, shot)
        name = self._seen(random).text
        makers: list[Callable[[], bytes]] = [lambda: json.dumps(self._json(random, text, name)).encode()] * 6
        makers += [
            lambda: json.dumps(self._json(random, text, name)).encode()[: -random.randint(1, 9)],
            lambda: f'{{"{name}": 1, "{name}": 2}}'.encode(),
            lambda: f'{{"text": "{text}", "x": NaN}}'.encode(),
            lambda: f'["{text}", "\\ud800"]'.encode(),
            lambda: text.encode() + b"\xff",
            lambda: text.encode(),
        ]
        headers["Content-Type"] = random.choice(TYPES) if random.random() < 0.15 else "application/json"
        return random.choice(makers)()

    def _json(self, random: Random, text: str, name: str) -> Any:
        email, password = self._life.email, self._life.password
        return random.choice(
            [
                {"email": email, "password": text},
                {"email": email, "password": password, "code": text},
                {"email": text, "password": password},
                {"email": email, "code": text},
                {"email": email, "password": text, "name": [text]},
                {"refresh": text},
                {"token": text, "password": text},
                {"token": text},
                {name: text},
                {"password": {"nested": {name: text}}},
                {"name": 1, "permissions": [text], "mode": text, "expires_at": text, "allowed_ips": [text]},
                {"name": "x", "allowed_models": [text], "rate_limit": text, "spend_limit": {"amount": text}},
                {"model": text, "messages": [{"role": "user", "content": text}], "stream": True},
                {"model": self._life.models["chat"], "messages": text},
                {"model": self._life.models["chat"], "prompt": text, "max_tokens": text},
                [{"token": text, "type": "agorai_api_key", "url": f"https://example.org/?{text}"}],
                {"reason": text, name: None},
                text,
            ]
        )

    def _form(self, random: Random, secret: Secret, shot: Shot) -> bytes:
        """Of a page: what is typed into a field of text is shown again when the form is."""
        text = secret.text
        fields = {
            "csrfmiddlewaretoken": random.choice([CSRF, CSRF, CSRF, text]),
            "login": self._life.email,
            "email": self._life.email,
            "password": self._life.password,
        }
        names = [
            "password",
            "oldpassword",
            "password1",
            "password2",
            "login",
            "email",
            "code",
            "name",
            "next",
            self._seen(random).text,
        ]
        for name in random.sample(names, random.randint(1, 3)):
            fields[name] = text
            if not name.endswith(("password", "password1", "password2")):
                shot.typed.add(secret.name)
        return urlencode(fields).encode()
