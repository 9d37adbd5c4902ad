"""Every endpoint of the API against hostile input: 4xx with a code and what to do, never a 5xx."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from django.urls import URLPattern, get_resolver

from common.ids import encode, uuid7
from tests.client import Client, make_key, sign_up

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BODIES = {
    "no JSON": b"{not json",
    "nothing": b"",
    "cut off": b'{"name": "x',
    "a list": b"[1, 2]",
    "a string": b'"x"',
    "a number": b"42",
    "null": b"null",
    "wrong types": json.dumps(
        {name: [{}] for name in ("email", "password", "name", "code", "refresh", "text")}
    ).encode(),
    "unknown fields": b'{"surely_no_such_field": 1}',
    "NUL": b'{"name": "a\\u0000b", "email": "a\\u0000@example.org", "text": "\\u0000"}',
    "raw NUL": b'{"name": "a\x00b"}',
    "a lone surrogate": b'{"name": "\\ud800", "email": "\\udfff@example.org", "text": "\\ud800"}',
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "a key twice": b'{"name": "a", "name": "b"}',
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "a huge number": b'{"name": ' + b"9" * 5000 + b"}",
    "NaN": b'{"name": NaN}',
    "10 MB": b'{"name": "' + b"x" * 10_000_000 + b'"}',
}
QUERIES = (
    "?cursor=%00",
    "?cursor=notacursor",
    "?limit=0",
    "?limit=99999999999999999999",
    "?limit=x",
    "?nosuch=1",
    "?q=%00",
    "?q=%ED%A0%80",
    "?from=yesterday",
    "?tz=Mars/Olympus",
)


def addresses() -> list[str]:
    """Every address of the API, with ids of the right shape that lead nowhere."""

    def walk(patterns, prefix=""):
        for entry in patterns:
            path = prefix + str(entry.pattern)
            if isinstance(entry, URLPattern):
                yield path
            else:
                yield from walk(entry.url_patterns, path)

    found = set()
    for path in walk(get_resolver().url_patterns):
        if path.startswith(("api/", "v1/")) and not path.startswith("api/docs"):
            while "<" in path:
                before, _, rest = path.partition("<")
                converter, _, after = rest.partition(">")
                kind = converter.partition(":")[0]
                value = "demo:none" if kind in ("str", "slug", "path") else encode(kind, uuid7())
                path = before + value + after
            found.add("/" + path)
    return sorted(found)


@pytest.fixture(scope="module")
def people(stack):
    person = sign_up(stack, "hostile-input@example.org")
    assert person.post("/api/auth/become-developer").status == 200
    permissions = ["models:read", "models:write", "models:invoke", "keys:read", "keys:write", "analytics:read"]
    key = make_key(person, permissions=permissions, rate_limit=100_000)
    return [Client(stack.url), person, key]


def check(answer, where) -> None:
    assert answer.status < 500 or answer.status == 503, (where, answer)
    if answer.status >= 400:
        body = answer.json
        problem = body.get("error", body)
        assert problem["code"], (where, answer)
        request_id = problem.get("request_id") or body["request_id"]  # where Anthropic's clients look for it
        assert request_id.startswith("req_"), (where, answer)
        assert answer.headers["x-request-id"] == request_id, where


@pytest.mark.parametrize("name", BODIES)
def test_no_body_breaks_anything(people, name):
    is_large = len(BODIES[name]) > 1_000_000
    for path in addresses():
        for method in ("POST",) if is_large else ("POST", "PUT", "PATCH"):
            for client in people[1:2] if is_large else people:
                check(client(method, path, raw=BODIES[name]), (method, path, name))


def test_no_query_breaks_anything(people):
    for path in addresses():
        for query in QUERIES:
            for client in people:
                check(client.get(path + query), (path, query))


def test_every_method_is_answered(people):
    for path in addresses():
        for method in METHODS:
            check(people[1](method, path, body={} if method in ("POST", "PUT", "PATCH") else None), (method, path))


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/mdl_00000000000000000000000000",
        "/api/models/mdl_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "/api/models/mdl_x",
        "/api/models/%00",
        "/api/models/..%2f..%2fetc%2fpasswd",
        "/api/models/%ED%A0%80",
        "/api/keys/key_ZZZ",
        "/api/keys/" + "x" * 3000,
        "/v1/requests/req_1",
        "/v1/models/" + "a/" * 200,
        "/api/nothing/here",
    ],
)
def test_a_bad_id_is_not_found(people, path):
    for client in people:
        answer = client.get(path)
        assert 400 <= answer.status < 500, answer
        check(answer, path)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_another_content_type_is_415(people, content_type):
    for path in ("/api/auth/login", "/api/keys", "/v1/chat/completions", "/api/models/demo:sentiment/invoke"):
        answer = people[2 if path.startswith("/v1") else 1]("POST", path, raw=b"{}", Content_Type=content_type)
        assert answer.status == 415, (path, answer)


@pytest.mark.parametrize(
    "credential", ["", "x", "agr_live_", "agr_live_" + "0" * 38, "eyJhbGciOiJub25lIn0.e30.", "Bearer", "a" * 9000, "ü"]
)
def test_no_credential_breaks_anything(stack, credential):
    for path in ("/api/keys", "/v1/models", "/api/auth/me"):
        answer = Client(stack.url)("GET", path, Authorization=f"Bearer {credential}".encode().decode("latin-1"))
        assert answer.status in (400, 401, 431), (path, answer)
    answer = Client(stack.url).post(
        "/v1/chat/completions", {"model": "demo/eliza"}, Authorization=f"Bearer {credential}".encode().decode("latin-1")
    )
    assert answer.status in (400, 401, 431), answer


def test_an_unknown_field_names_the_nearest_one(people):
    answer = people[1].post("/api/keys", {"nam": "x"})
    assert answer.status == 422
    fault = next(error for error in answer.json["errors"] if error["code"] == "unknown_field")
    assert fault["pointer"] == "/nam"
    assert "name" in fault["detail"]


def test_a_half_sent_body_leaves_nothing_behind(people, stack):
    before = len(people[1].get("/api/keys").json["data"])
    address = urlsplit(stack.url)
    connection = HTTPConnection(address.hostname, address.port, timeout=5)
    connection.putrequest("POST", "/api/keys")
    connection.putheader("Authorization", f"Bearer {people[1].credential}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b'{"name": "half')
    connection.close()
    assert len(people[1].get("/api/keys").json["data"]) == before
