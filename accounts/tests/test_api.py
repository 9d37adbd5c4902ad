"""/api/auth as a program meets it."""

import json

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

from accounts import services
from accounts.models import Organization, User
from accounts.tests.factories import (
    PASSWORD,
    code_in,
    later,
    mails_to,
    make_client,
    make_member,
    make_user,
    new_address,
    reset_token_in,
)

pytestmark = pytest.mark.django_db
USER_FIELDS = [
    *("id", "email", "name", "organization", "role", "email_verified", "api_keys", "created_at", "updated_at")
]
SIGN_UP = {"password": PASSWORD, "name": "Ada Lovelace"}


def post(path, body, *, client=None, **headers):
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    client = client or make_client()
    return client.post(f"/api/auth/{path}", data, content_type="application/json", headers=headers or None)


def log_in(user, **fields):
    return post("login", {"email": user.email, "password": PASSWORD, **fields})


def bearer(response):
    return make_client(authorization=f"Bearer {response.json()['access']}")


def problem_code(response):
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


@pytest.fixture
def alice():
    user = make_user()
    user.client = bearer(log_in(user))
    return user


# --- The way in ---


def test_a_newcomer_signs_up_verifies_and_is_in():
    email = new_address()
    answer = post("register", {"email": f" {email.upper()} ", **SIGN_UP, "organization": "Analytical Engines"})
    assert (answer.status_code, answer.content) == (202, b'{"status":"verification_sent"}')
    answer = post("verify-email", {"email": email, "code": code_in(mails_to(email)[0])})
    assert answer.status_code == 200
    pair = answer.json()
    assert list(pair) == ["access", "refresh", "token_type", "expires_in", "user"]
    assert (pair["token_type"], pair["expires_in"], pair["access"].startswith("eyJ")) == ("Bearer", 300, True)
    user = pair["user"]
    assert list(user) == USER_FIELDS
    assert list(user["organization"]) == ["id", "slug", "name", "role"]
    assert (user["id"][:4], user["organization"]["id"][:4]) == ("usr_", "org_")
    assert (user["email"], user["name"], user["role"]) == (email, "Ada Lovelace", "consumer")
    assert (user["organization"]["name"], user["organization"]["role"]) == ("Analytical Engines", "owner")
    assert (user["email_verified"], user["api_keys"]) == (True, [])
    assert user["created_at"].endswith("Z")
    assert bearer(answer).get("/api/auth/me").json() == user
    assert answer.headers["Cache-Control"] == "no-store"


def same(first, second):
    """Status, body and headers, without what names the request."""
    shown = [
        (r.status_code, r.content, {k: v for k, v in r.headers.items() if k.lower() != "x-request-id"})
        for r in (first, second)
    ]
    assert shown[0] == shown[1]


def test_no_answer_tells_whether_an_address_is_taken():
    verified, unverified, unknown = make_user().email, new_address(), new_address()
    post("register", {"email": unverified, **SIGN_UP})
    for known in (verified, unverified):
        same(*(post("register", {"email": e, **SIGN_UP}) for e in (known, unknown)))
        same(*(post("password/reset", {"email": e}) for e in (known, new_address())))
        unknown = new_address()
        wrong = [post("login", {"email": e, "password": "wrong"}) for e in (known, unknown)]
        assert [problem_code(r) for r in wrong] == [(401, "login_failed")] * 2
        assert len({r.json()["detail"] for r in wrong}) == 1
        guess = [post("verify-email", {"email": e, "code": "AAAAAAAA"}) for e in (known, unknown)]
        assert [problem_code(r) for r in guess] == [(422, "code_invalid")] * 2
        assert len({r.json()["detail"] for r in guess}) == 1


def test_an_unverified_address_may_not_log_in_and_gets_a_code():
    email = new_address()
    post("register", {"email": email, **SIGN_UP})
    answer = post("login", {"email": email, "password": PASSWORD})
    assert problem_code(answer) == (403, "email_not_verified")
    assert post("verify-email", {"email": email, "code": code_in(mails_to(email)[-1])}).status_code == 200
    assert post("login", {"email": email, "password": PASSWORD}).status_code == 200


def test_wrong_credentials_say_how_to_send_better_ones(alice):
    answer = post("login", {"email": alice.email, "password": "wrong"})
    assert problem_code(answer) == (401, "login_failed")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_second_factor_is_asked_for(alice):
    TOTP.activate(alice, generate_totp_secret())
    assert problem_code(log_in(alice)) == (401, "mfa_required")
    assert problem_code(log_in(alice, code="000000")) == (401, "mfa_invalid")


def test_a_broken_session_or_token_does_not_keep_anyone_from_logging_in(alice):
    body = {"email": alice.email, "password": PASSWORD}
    assert post("login", body, authorization="Bearer eyJ.a.b").status_code == 200
    client = make_client()
    client.force_login(alice)
    client.handler.enforce_csrf_checks = True
    assert post("login", body, client=client).status_code == 200


# --- Tokens ---


def test_a_refresh_gives_a_new_pair_and_a_replay_ends_all():
    pair = log_in(make_user()).json()
    client = make_client()
    second = post("refresh", {"refresh": pair["refresh"]}, client=client)
    assert list(second.json()) == ["access", "refresh", "token_type", "expires_in", "user"]
    third = post("refresh", {"refresh": second.json()["refresh"]}, client=client).json()
    assert problem_code(post("refresh", {"refresh": pair["refresh"]}, client=client)) == (401, "refresh_token_reused")
    for refresh in (third["refresh"], second.json()["refresh"], pair["refresh"], "x"):
        answer = post("refresh", {"refresh": refresh}, client=client)
        assert problem_code(answer) == (401, "refresh_token_invalid")
    assert problem_code(bearer(second).get("/api/auth/me")) == (401, "token_invalid")


def test_the_same_client_may_ask_twice_another_may_not():
    pair = log_in(make_user()).json()
    client = make_client()
    answers = [post("refresh", {"refresh": pair["refresh"]}, client=client).json()["refresh"] for _ in range(2)]
    assert answers[0] == answers[1]
    other = post("refresh", {"refresh": pair["refresh"]}, client=client, user_agent="another")
    assert problem_code(other) == (401, "refresh_token_reused")


def test_logout_ends_the_pair_and_tells_nothing():
    answer = log_in(make_user())
    client = bearer(answer)
    for refresh in (answer.json()["refresh"], answer.json()["refresh"], "unknown"):
        out = post("logout", {"refresh": refresh})
        assert (out.status_code, out.content) == (204, b"")
    assert problem_code(client.get("/api/auth/me")) == (401, "token_invalid")


def test_an_expired_token_says_so(alice):
    with later("6 minutes"):
        assert problem_code(alice.client.get("/api/auth/me")) == (401, "token_expired")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Bearer eyJhbGciOiJub25lIn0.e30.AA", "token_invalid"),
        ("bearer eyJhbGciOiJub25lIn0.e30.AA", "token_invalid"),
        ("Bearer", "malformed_credentials"),
        ("Bearer x", "malformed_credentials"),
        ("Bearer a b", "malformed_credentials"),
        ("Bearer \xe4.\xf6.\xfc", "malformed_credentials"),
        ("Basic YTpi", "not_authenticated"),
        ("", "not_authenticated"),
    ],
)
def test_credentials_that_are_none(header, code):
    assert problem_code(make_client(authorization=header).get("/api/auth/me")) == (401, code)


# --- New passwords ---


def test_a_forgotten_password_is_replaced_by_the_mailed_token(alice):
    answer = post("password/reset", {"email": alice.email})
    assert (answer.status_code, answer.content) == (202, b'{"status":"reset_sent"}')
    token = reset_token_in(mails_to(alice.email)[-1])
    weak = post("password/reset/confirm", {"token": token, "password": "short"})
    assert problem_code(weak) == (422, "validation_failed")
    assert weak.json()["errors"][0]["pointer"] == "/password"
    answer = post("password/reset/confirm", {"token": token, "password": "a quite new password"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert problem_code(alice.client.get("/api/auth/me")) == (401, "token_invalid")
    assert problem_code(log_in(alice)) == (401, "login_failed")
    assert log_in(alice, password="a quite new password").status_code == 200
    again = post("password/reset/confirm", {"token": token, "password": "a quite new password"})
    assert problem_code(again) == (422, "reset_token_invalid")
    assert again.json()["errors"][0]["pointer"] == "/token"


def test_mails_name_no_host_of_the_request(alice, settings):
    settings.ALLOWED_HOSTS = ["*"]
    client = make_client(host="evil.example", x_forwarded_host="evil.example")
    post("password/reset", {"email": alice.email}, client=client)
    [message] = mails_to(alice.email)
    assert "evil" not in message.body + message.alternatives[0].content


# --- Oneself ---


def test_one_may_change_the_name_and_nothing_else(alice):
    answer = alice.client.patch("/api/auth/me", '{"name": "Grace"}', content_type="application/json")
    assert (answer.status_code, answer.json()["name"]) == (200, "Grace")
    assert alice.client.get("/api/auth/me").json() == answer.json()
    unchanged = alice.client.patch("/api/auth/me", "{}", content_type="application/json")
    assert unchanged.json() == answer.json()
    for name in ("role", "email", "is_staff", "platform_role", "session_version", "id"):
        refused = alice.client.patch("/api/auth/me", json.dumps({name: "staff"}), content_type="application/json")
        assert problem_code(refused) == (422, "validation_failed")
        assert refused.json()["errors"][0]["pointer"] == f"/{name}"


def test_the_organization_is_the_one_in_the_header(alice):
    organization = make_member(user=alice, role="billing").organization
    answer = alice.client.get("/api/auth/me", headers={"Agorai-Organization": organization.public_id})
    assert answer.json()["organization"] == {
        "id": organization.public_id,
        "slug": organization.slug,
        "name": organization.name,
        "role": "billing",
    }
    foreign = make_user().personal_organization.public_id
    missing = foreign[:-4] + "0000"
    answers = [alice.client.get("/api/auth/me", headers={"Agorai-Organization": id}) for id in (foreign, missing, "x")]
    assert [problem_code(r) for r in answers] == [(404, "not_found")] * 3
    assert len({json.dumps({**r.json(), "request_id": ""}) for r in answers}) == 1


def test_nobody_else_sees_me():
    assert problem_code(make_client().get("/api/auth/me")) == (401, "not_authenticated")
    assert problem_code(make_client().post("/api/auth/become-developer")) == (401, "not_authenticated")


def test_the_session_of_the_site_serves_too_with_its_token(alice):
    client = make_client()
    client.force_login(alice)
    assert client.get("/api/auth/me").status_code == 200
    client.handler.enforce_csrf_checks = True
    answer = client.patch("/api/auth/me", '{"name": "X"}', content_type="application/json")
    assert problem_code(answer) == (403, "csrf_failed")


def test_asking_to_publish(alice, settings):
    def ask(body=""):
        return alice.client.post("/api/auth/become-developer", body, content_type="application/json")

    settings.DEVELOPER_APPROVAL = "staff"
    first = ask()
    assert (first.status_code, first.json()["status"], first.json()["role"]) == (200, "requested", "consumer")
    assert ask().json() == first.json()
    wordy = ask('{"reason": "Two speech models."}')
    assert wordy.json() == first.json()
    assert services.latest_request_of(alice).reason == "Two speech models."
    misspelt = ask('{"reasons": "x"}')
    assert problem_code(misspelt) == (422, "validation_failed")
    assert "Did you mean “reason”?" in misspelt.json()["errors"][0]["detail"]
    settings.DEVELOPER_APPROVAL = "automatic"
    assert ask().json()["status"] == "granted"
    assert alice.client.get("/api/auth/me").json()["role"] == "developer"


# --- Limits ---


TRIES = {
    "register": {"email": "{n}@example.org", **SIGN_UP},
    "login": {"email": "{n}@example.org", "password": "wrong"},
    "verify-email": {"email": "{n}@example.org", "code": "AAAAAAAA"},
    "password/reset": {"email": "{n}@example.org"},
    "password/reset/confirm": {"token": "{n}", "password": "a quite new password"},
}


def third_try_is_the_last(attempt):
    assert 429 not in {attempt(n).status_code for n in range(3)}
    refused = attempt(3)
    assert problem_code(refused) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", TRIES)
def test_tries_from_one_address_are_limited(path, settings):
    settings.AUTH_RATE_PER_MINUTE = 3
    client, stem = make_client(), new_address()[:20]
    body = json.dumps(TRIES[path])
    third_try_is_the_last(lambda n: post(path, body.replace("{n}", f"{stem}{n}"), client=client))


@pytest.mark.parametrize("path", ["register", "password/reset"])  # guesses have tests of their own
def test_tries_at_one_account_are_limited(path, settings):
    settings.AUTH_RATE_PER_MINUTE = 3
    body = {**TRIES[path], "email": new_address()}
    third_try_is_the_last(lambda n: post(path, body))


# --- Bad input ---

ENDPOINTS = {
    "register": {"email": "a@example.org", **SIGN_UP},
    "verify-email": {"email": "a@example.org", "code": "AAAAAAAA"},
    "login": {"email": "a@example.org", "password": "x"},
    "refresh": {"refresh": "x"},
    "logout": {"refresh": "x"},
    "password/reset": {"email": "a@example.org"},
    "password/reset/confirm": {"token": "x", "password": "a quite new password"},
}
WRONG_VALUES = [None, 1, True, [], {}, "", " ", "x" * 5000]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_field_is_checked(path):
    for name in ENDPOINTS[path]:
        for value in WRONG_VALUES:
            answer = post(path, {**ENDPOINTS[path], name: value})
            if (path, name, value) == ("login", "password", " ") or (name, value) == ("password", " "):
                continue  # blanks are characters of a password
            assert problem_code(answer) == (422, "validation_failed"), (name, value)
            assert {error["pointer"] for error in answer.json()["errors"]} == {f"/{name}"}
        left_out = {k: v for k, v in ENDPOINTS[path].items() if k != name}
        answer = post(path, left_out)
        assert [e["pointer"] for e in answer.json()["errors"]] == [f"/{name}"]
    answer = post(path, {**ENDPOINTS[path], "is_staff": True})
    assert problem_code(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "/is_staff"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b'{"email": "\\u0000"}', 400),
        (b'{"email": "\\ud800"}', 400),
        (b'{"email": NaN}', 400),
        (b'{"email": "a", "email": "b"}', 400),
        (b"[" * 100_000, 413),
        (b"[" * 5000 + b"]" * 5000, 400),
        (b'{"email": "' + b"a" * 10_000_000 + b'"}', 413),
        (b"null", 422),
        (b"[]", 422),
        (b'"x"', 422),
        (b"", 422),
    ],
)
def test_a_body_that_is_none_is_refused(path, raw, expected):
    users, organizations = User.objects.count(), Organization.objects.count()
    answer = post(path, raw)
    assert answer.status_code == expected, answer.content[:300]
    assert answer.json()["code"]
    assert (User.objects.count(), Organization.objects.count()) == (users, organizations)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_other_methods_formats_and_parameters_are_refused(path):
    client = make_client()
    assert client.get(f"/api/auth/{path}").status_code == 405
    assert client.post(f"/api/auth/{path}", {"email": "a"}).status_code == 415
    assert post(f"{path}?next=/", ENDPOINTS[path]).status_code == 400
    assert client.post(f"/api/auth/{path}/").status_code == 404


def test_names_are_stored_as_they_are_written():
    email, name = new_address(), "<b>Åsa</b> \u202e 'x' {{ 7 }}"
    assert post("register", {"email": email, "password": PASSWORD, "name": name}).status_code == 202
    user = User.objects.get(email=email)
    assert user.name == name
    assert services.verify_email(email=email, code=code_in(mails_to(email)[0])).name == name
