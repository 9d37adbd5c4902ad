"""Guesses at one account, by every door: few get through, and nobody is locked out by others'."""

import json

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.totp.internal.auth import yield_hotp_counters_from_time as counters
from django.core.cache import cache
from django.test import Client

from accounts.models import RefreshFamily
from accounts.services.guesses import AT_ONCE
from accounts.tests.factories import PASSWORD, code_in, mails_to, make_client, make_user, new_address, reset_token_in

pytestmark = pytest.mark.django_db
MANY = AT_ONCE + 3


def log_in(email, password="wrong", *, client=None, **fields):
    """By the API, from a network of its own unless told otherwise."""
    body = json.dumps({"email": email, "password": password, **fields})
    return (client or make_client()).post("/api/auth/login", body, content_type="application/json")


def enter(email, password="wrong", *, client=None):
    """By the page."""
    return (client or make_client()).post("/accounts/login/", {"login": email, "password": password})


def is_in(client):
    return client.get("/settings/profile").status_code == 200


def statuses(answers):
    return [answer.status_code for answer in answers]


DOORS = {
    "API": (log_in, 401),
    "page": (enter, 422),
    "code of the mail": (
        lambda email: make_client().post(
            "/api/auth/verify-email", json.dumps({"email": email, "code": "AAAAAAAA"}), content_type="application/json"
        ),
        422,
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_from_however_many_networks_few_guesses_get_through(door):
    attempt, wrong = DOORS[door]
    user = make_user()
    assert statuses(attempt(user.email) for _ in range(MANY)) == [wrong] * AT_ONCE + [429] * 3
    assert log_in(user.email, PASSWORD).status_code == 429, "and a right one is not looked at either"
    assert enter(user.email, PASSWORD).status_code == 429


@pytest.mark.parametrize("door", DOORS)
def test_a_throttled_answer_does_not_tell_whether_there_is_an_account(door):
    attempt, _wrong = DOORS[door]
    answers = {}
    for email in (make_user().email, new_address()):
        answers[email] = [attempt(email) for _ in range(MANY)]
    known, unknown = answers.values()
    of_the_moment = {"x-request-id", "Set-Cookie", "Content-Length"}
    for one, other in zip(known, unknown, strict=True):
        assert one.status_code == other.status_code
        if one.status_code == 429:
            assert int(one["Retry-After"]) in range(1, 721)
            assert abs(int(one["Retry-After"]) - int(other["Retry-After"])) <= 1
        if door != "page":
            bodies = [answer.json() | {"request_id": "", "retry_after_seconds": 0} for answer in (one, other)]
            assert bodies[0] == bodies[1]
        assert {*one.headers} - of_the_moment == {*other.headers} - of_the_moment


def test_guesses_at_all_doors_are_counted_together():
    user = make_user()
    for attempt, _wrong in (*DOORS.values(), *DOORS.values()):
        last = attempt(user.email)
    assert last.status_code == 429


def test_an_account_with_two_addresses_has_no_more_guesses_and_nothing_says_that_they_belong_together():
    user, second, nobody = make_user(), new_address(), new_address()
    EmailAddress.objects.create(user=user, email=second, verified=True)
    assert statuses(log_in(user.email) for _ in range(AT_ONCE)) == [401] * AT_ONCE
    assert log_in(second, PASSWORD).json()["code"] == "login_failed", "right, but not looked at"
    answers = [[log_in(email).status_code for _ in range(MANY)] for email in (second, nobody)]
    assert answers[0][AT_ONCE - 1 :] == [*answers[1][AT_ONCE:], 429]


def test_what_was_right_does_not_count():
    user, client = make_user(), make_client()
    assert {log_in(user.email, PASSWORD).status_code for _ in range(2 * AT_ONCE)} == {200}
    for _ in range(2 * AT_ONCE):
        cache.clear()
        client = make_client()
        enter(user.email, PASSWORD, client=client)
        assert is_in(client)


def test_a_browser_that_logged_in_before_is_not_locked_out():
    user, owner = make_user(), make_client()
    enter(user.email, PASSWORD, client=owner)
    owner.post("/accounts/logout/")
    assert not is_in(owner)
    assert statuses(enter(user.email) for _ in range(MANY))[-1] == 429
    assert enter(user.email, client=owner).status_code == 422, "mistyped"
    enter(user.email, PASSWORD, client=owner)
    assert is_in(owner)
    cookie = owner.cookies["device"]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["max-age"]) == ("Lax", 180 * 24 * 3600)


def test_a_known_browser_has_a_bucket_of_its_own_that_ends_too():
    user, owner = make_user(), make_client()
    enter(user.email, PASSWORD, client=owner)
    owner.post("/accounts/logout/")
    answers = statuses(enter(user.email, client=owner) for _ in range(12))
    assert 429 in answers
    assert answers.count(422) <= 10


def test_a_cookie_opens_no_other_account_and_cannot_be_made():
    user, other = make_user(), make_user()
    client = make_client()
    enter(other.email, PASSWORD, client=client)
    client.post("/accounts/logout/")
    assert statuses(log_in(user.email) for _ in range(AT_ONCE)) == [401] * AT_ONCE
    assert enter(user.email, PASSWORD, client=client).status_code == 429
    forger = make_client()
    forger.cookies["device"] = f"{user.pk.hex}:{client.cookies['device'].value}"
    assert enter(user.email, PASSWORD, client=forger).status_code == 429


def test_one_browser_is_known_to_several_people():
    people, client = [make_user() for _ in range(3)], make_client()
    for user in people:
        enter(user.email, PASSWORD, client=client)
        client.post("/accounts/logout/")
    for user in people:
        for _ in range(AT_ONCE):
            log_in(user.email)
        enter(user.email, PASSWORD, client=client)
        assert is_in(client)
        client.post("/accounts/logout/")


def test_a_program_that_logged_in_before_is_not_locked_out():
    user = make_user()
    owner = Client(REMOTE_ADDR="198.51.100.17", headers={"user-agent": "robot/1"})
    thief = Client(REMOTE_ADDR="198.51.100.17", headers={"user-agent": "robot/2"})
    assert log_in(user.email, PASSWORD, client=owner).status_code == 200
    assert statuses(log_in(user.email) for _ in range(MANY))[-1] == 429
    assert log_in(user.email, PASSWORD, client=thief).status_code == 429
    assert log_in(user.email, PASSWORD, client=owner).status_code == 200
    RefreshFamily.objects.filter(user=user).update(revoked_at="2026-01-01T00:00:00Z", reason="reuse")
    assert log_in(user.email, PASSWORD, client=owner).status_code == 429, "its token was stolen"


def test_who_sets_a_new_password_by_mail_gets_in_whatever_others_do():
    user, owner = make_user(), make_client()
    assert statuses(log_in(user.email) for _ in range(MANY))[-1] == 429
    owner.post("/accounts/password/reset/", {"email": user.email})
    token = reset_token_in(mails_to(user.email)[-1])
    page = owner.get(f"/accounts/password/reset/key/{user.pk.hex}-{token}/", follow=True)
    new = "another quite long password"
    assert owner.post(page.request["PATH_INFO"], {"password1": new, "password2": new}).status_code == 302
    enter(user.email, new, client=owner)
    assert is_in(owner)


# --- Second factors, and people who are in ---


def make_guarded():
    user = make_user()
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    return user, secret


def code_of(secret):
    return format_hotp_value(hotp_value(secret, next(iter(counters()))))


def test_guesses_at_the_second_factor_are_counted_with_the_others():
    user, secret = make_guarded()
    answers = [log_in(user.email, PASSWORD, code="000000") for _ in range(MANY)]
    assert statuses(answers) == [401] * AT_ONCE + [429] * 3
    assert log_in(user.email, PASSWORD, code=code_of(secret)).status_code == 429
    client = make_client()
    assert enter(user.email, PASSWORD, client=client).status_code == 429


def test_guesses_at_the_second_factor_by_the_page():
    user, secret = make_guarded()
    client = make_client()
    assert enter(user.email, PASSWORD, client=client)["Location"].startswith("/accounts/2fa/authenticate/")
    path = "/accounts/2fa/authenticate/"
    assert statuses(client.post(path, {"code": "000000"}) for _ in range(MANY)) == [422] * AT_ONCE + [429] * 3
    assert client.post(path, {"code": code_of(secret)}).status_code == 429
    assert not is_in(client)


def test_a_right_second_factor_makes_the_device_known():
    user, secret = make_guarded()
    client = make_client()
    enter(user.email, PASSWORD, client=client)
    assert "device" not in client.cookies
    client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    assert is_in(client)
    assert "device" in client.cookies


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/accounts/reauthenticate/", {"password": "wrong"}),
        ("/accounts/password/change/", {"oldpassword": "wrong", "password1": "x" * 12, "password2": "x" * 12}),
    ],
)
def test_who_took_over_a_session_cannot_guess_the_password(path, body, settings):
    settings.AUTH_RATE_PER_MINUTE = 100
    user, thief = make_user(), make_client()
    thief.force_login(user)
    thief.cookies.pop("device", None)
    assert statuses(thief.post(path, body) for _ in range(MANY)) == [422] * AT_ONCE + [429] * 3


def test_a_newcomer_types_the_code_after_a_mistake():
    email = new_address()
    body = {"email": email, "password": PASSWORD, "name": "Ada"}
    make_client().post("/api/auth/register", json.dumps(body), content_type="application/json")
    code, client = code_in(mails_to(email)[0]), make_client()
    path = "/api/auth/verify-email"
    for typed, status in (("AAAAAAAA", 422), (code, 200)):
        answer = client.post(path, json.dumps({"email": email, "code": typed}), content_type="application/json")
        assert answer.status_code == status
