"""A small HTTP client for tests that come through the front door, on the standard library alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.message import EmailMessage
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.status} {self.body[:2000].decode(errors='replace')}"


class Client:
    """One connection per request: what a command-line client does."""

    def __init__(self, url: str, credential: str | None = None, **headers: str) -> None:
        self.url, self.credential, self.headers = url, credential, headers

    def __call__(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Answer:
        """`body` is sent as JSON, `raw` as it is. Header names are written with underscores."""
        sent = {"Accept": "application/json"}
        if self.credential:
            sent["Authorization"] = f"Bearer {self.credential}"
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in {**self.headers, **headers}.items()}
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            connection.request(method, path, raw if raw is not None else body and json.dumps(body), sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self("POST", path, {} if body is None else body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self("PUT", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self("PATCH", path, {} if body is None else body, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self("DELETE", path, **headers)


def code_in(mail: EmailMessage) -> str:
    """The code that stands on a line of its own in the text part."""
    part = mail.get_body(("plain",))
    assert part is not None
    found = re.findall(r"^([A-Z0-9]{6,8})\r?$", part.get_content(), re.M)
    assert len(found) == 1, part.get_content()
    return found[0]


def sign_up(stack: Any, email: str, *, password: str = "correct horse 42", name: str = "Ada Lovelace") -> Client:
    """A new person, verified and logged in by access token."""
    client = Client(stack.url)
    answer = client.post("/api/auth/register", {"email": email, "password": password, "name": name})
    assert answer.status == 202, answer
    code = code_in(stack.wait_for_mail(email))
    answer = client.post("/api/auth/verify-email", {"email": email, "code": code})
    assert answer.status == 200, answer
    return Client(stack.url, answer.json["access"])


def make_key(person: Client, **values: Any) -> Client:
    """A client with a fresh API key of that person."""
    answer = person.post("/api/keys", {"name": "test", **values})
    assert answer.status == 201, answer
    return Client(person.url, answer.json["key"])
