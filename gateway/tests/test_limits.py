"""GET /api/limits: what limits a caller, as it is enforced, whether or not it is reached."""

import json

import pytest
from django.conf import settings as configured
from django.test import Client

from accounts import services as accounts
from apikeys import services as apikeys
from apikeys.tests.factories import make_key, make_person
from billing.services import ensure_account
from common import limiter
from common.limits import buckets_of_key

pytestmark = pytest.mark.django_db
NANO = 10**9


def ask(secret):
    return Client(headers={"authorization": f"Bearer {secret}"}).get("/api/limits")


def by_source(answer, kind):
    assert answer.status_code == 200, answer.content
    return {one["source"]: one for one in answer.json()["limits"] if (one["kind"] == "rate") == (kind == "rate")}


def test_a_key_sees_every_limit_and_which_is_the_tightest(settings):
    settings.WELCOME_CREDIT = "5.00"
    key, secret = make_key(rate_limit=60, spend_limit=apikeys.SpendLimit(2 * NANO))
    organization = key.organization
    accounts.set_spend_limit(
        subject_kind="organization", subject_id=organization.pk, limit_nano=3 * NANO, window="day", time_zone="UTC"
    )
    answer = ask(secret)
    money = by_source(answer, "money")
    assert set(money) == {"key", "organization", "credit"}
    assert [source for source, one in money.items() if one["is_tightest"]] == ["key"]
    assert money["key"]["limit"] == {"amount": "2.00", "currency": "USD"}
    assert money["key"]["remaining"] == {"amount": "2.00", "currency": "USD"}
    assert (money["key"]["window"], money["organization"]["window"], money["credit"]["window"]) == (
        "month",
        "day",
        "lifetime",
    )
    assert money["key"]["resets_at"] > money["organization"]["resets_at"]
    assert money["credit"]["resets_at"] is None
    rates = by_source(answer, "rate")
    assert rates["key"]["limit"] == 60
    assert rates["organization"]["limit"] == configured.ORGANIZATION_RATE_PER_MINUTE
    assert answer.json()["key_id"] == key.public_id
    assert answer.json()["is_blocked"] is False


def test_a_key_without_money_and_without_calls_left_is_answered():
    key, secret = make_key(permissions=["models:invoke"], rate_limit=3, spend_limit=apikeys.SpendLimit(0))
    buckets = buckets_of_key(key.id, 3, key.organization_id, None)
    while limiter.check_all(list(buckets))[0].allowed:
        pass
    assert Client(headers={"authorization": f"Bearer {secret}"}).get("/v1/models").status_code == 429
    for _again in range(5):
        answer = ask(secret)
        assert by_source(answer, "rate")["key"]["remaining"] == 0
        assert by_source(answer, "rate")["key"]["is_reached"] is True
        assert by_source(answer, "money")["key"]["is_reached"] is True
        assert answer.json()["is_blocked"] is True


def test_looking_takes_nothing():
    _, secret = make_key(rate_limit=10)
    Client(headers={"authorization": f"Bearer {secret}"}).get("/v1/models")
    seen = [by_source(ask(secret), "rate")["key"]["remaining"] for _ in range(3)]
    assert seen == [9, 9, 9]


def test_a_test_key_has_no_limit_of_money():
    _, secret = make_key(mode="test")
    answer = ask(secret)
    assert by_source(answer, "money") == {}
    assert answer.json()["mode"] == "test"


def test_a_revoked_key_and_nobody_are_refused():
    key, secret = make_key()
    apikeys.revoke_key(key=key)
    assert ask(secret).status_code == 401
    assert Client().get("/api/limits").status_code == 401


def test_people_see_the_limits_of_the_organization():
    person = make_person()
    ensure_account(person.personal_organization)
    browser = Client()
    browser.force_login(person)
    answer = browser.get("/api/limits")
    assert set(by_source(answer, "money")) == {"credit"}
    assert set(by_source(answer, "rate")) == {"person", "organization"}
    token = accounts.open_family(user=person, client="x").access
    other = Client(headers={"authorization": f"Bearer {token}"}).get("/api/limits")
    assert other.status_code == 200
    assert json.loads(other.content)["key_id"] is None
