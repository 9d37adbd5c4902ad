"""The pages of keys, without JavaScript."""

import re

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import services as accounts
from apikeys import services
from apikeys.models import APIKey
from apikeys.tests.factories import make_key, make_person
from common import clock
from common.money import NANO

pytestmark = pytest.mark.django_db

NEW = {
    "name": "laptop",
    "mode": "live",
    "permissions": ["models:read", "models:invoke"],
    "spend_limit": "5",
    "window": "month",
    "days": "90",
}
SECRET = re.compile(r"agr_(?:live|test)_[0-9A-Za-z]{38}")


@pytest.fixture
def ada():
    return make_person()


@pytest.fixture
def browser(ada):
    client = Client()
    client.force_login(ada)
    return client


def html_of(answer, status=200):
    html = answer.content.decode()
    assert answer.status_code == status, html[-2000:]
    assert " style=" not in html
    assert "<script>" not in html
    return html


def test_strangers_are_sent_to_log_in():
    answer = Client().get("/keys")
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("account_login"))


def test_an_account_without_keys_is_told_what_they_are_for(browser):
    html = html_of(browser.get("/keys"))
    assert "No keys yet" in html
    assert "<details" in html


def test_a_new_key_is_shown_once_and_kept_nowhere(browser, ada, settings):
    answer = browser.post("/keys", NEW)
    html = html_of(answer)
    assert answer["Cache-Control"] == "no-store"
    (secret,) = set(SECRET.findall(html))
    assert f"OPENAI_BASE_URL={settings.SITE_URL}/v1" in re.sub("<[^>]+>", "", html)
    found = services.verify_key(secret, address="203.0.113.8", at=clock.now())
    assert (found.name, found.user_id, found.organization) == ("laptop", ada.pk, ada.personal_organization)
    assert 89 <= (found.expires_at - clock.now()).days <= 90
    assert services.spend_limits_of([found.id])[found.id].limit == 5 * NANO
    assert secret not in html_of(browser.get("/keys"))
    assert secret not in str(answer.headers)
    for session in Session.objects.all():
        assert secret not in str(session.get_decoded())


def test_a_key_may_live_forever_and_spend_without_a_limit(browser):
    html_of(browser.post("/keys", NEW | {"days": "", "spend_limit": ""}))
    key = APIKey.objects.get()
    assert key.expires_at is None
    assert services.spend_limits_of([key.id]) == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": ""}, "This field is required"),
        ({"spend_limit": "lots"}, "Enter an amount such as 20.00."),
        ({"spend_limit": "-1"}, "Enter an amount of at least 0."),
        ({"permissions": ["models:fly"]}, "not one of the available choices"),
        ({"mode": "demo"}, "not one of the available choices"),
    ],
)
def test_a_faulty_form_says_what_is_wrong_and_makes_nothing(browser, values, words):
    assert words in html_of(browser.post("/keys", NEW | values), 422)
    assert not APIKey.objects.exists()


def test_the_list_names_the_limit_that_counts(browser, ada):
    make_key(user=ada, name="free")
    limited, _ = make_key(user=ada, name="limited", spend_limit=services.SpendLimit(50 * NANO))
    assert "$0.00 of $50.00 key limit this month" in html_of(browser.get("/keys"))
    accounts.ensure_credit(organization=ada.personal_organization, limit_nano=5 * NANO)
    html = html_of(browser.get("/keys"))
    assert "of $50.00 key limit" not in html, "the credit is tighter"
    assert "No key limit. $0.00 of $5.00 credit spent" in html
    assert "Key limit $50.00, but: $0.00 of $5.00 credit spent" in html
    services.change_key(key=limited, changes={"spend_limit": services.SpendLimit(0, window="day")})
    assert "$0.00 of $0.00 key limit today: blocked until" in html_of(browser.get("/keys"))


def test_the_list_takes_the_same_queries_for_3_and_30_keys(browser, ada):
    def count():
        with CaptureQueriesContext(connection) as queries:
            html_of(browser.get("/keys"))
        return len(queries)

    for _ in range(3):
        make_key(user=ada, spend_limit=services.SpendLimit(NANO))
    few = count()
    for _ in range(27):
        make_key(user=ada, spend_limit=services.SpendLimit(NANO))
    assert count() == few


def test_a_key_can_be_changed_on_its_page(browser, ada):
    key, secret = make_key(user=ada, spend_limit=services.SpendLimit(5 * NANO))
    html = html_of(browser.get(f"/keys/{key.public_id}"))
    assert 'value="5.00"' in html
    assert secret not in html
    answer = browser.post(f"/keys/{key.public_id}", {"name": "new", "permissions": ["models:read"], "spend_limit": ""})
    assert answer.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.permissions) == ("new", ["models:read"])
    assert services.spend_limits_of([key.id]) == {}
    html_of(browser.post(f"/keys/{key.public_id}", {"name": ""}), 422)


def test_rotating_asks_first_and_shows_the_new_secret_once(browser, ada):
    key, old = make_key(user=ada)
    html_of(browser.get(f"/keys/{key.public_id}/rotate"))
    key.refresh_from_db()
    assert key.overlap_until is None, "asking changes nothing"
    html_of(browser.post(f"/keys/{key.public_id}/rotate", {"overlap_seconds": "5"}), 422)
    answer = browser.post(f"/keys/{key.public_id}/rotate", {"overlap_seconds": "86400"})
    (secret,) = set(SECRET.findall(html_of(answer)))
    assert answer["Cache-Control"] == "no-store"
    for one in (old, secret):
        services.verify_key(one, address="", at=clock.now())


def test_revoking_asks_first(browser, ada):
    key, _ = make_key(user=ada)
    html_of(browser.get(f"/keys/{key.public_id}/revoke"))
    key.refresh_from_db()
    assert key.revoked_at is None
    answer = browser.post(f"/keys/{key.public_id}/revoke")
    assert (answer.status_code, answer["Location"]) == (302, "/keys")
    html = html_of(browser.get("/keys"))
    assert "is revoked" in html
    assert ">Revoked<" in html
    assert f"/keys/{key.public_id}/rotate" not in html
    assert "Change this key" not in html_of(browser.get(f"/keys/{key.public_id}"))


def test_every_form_needs_its_csrf_token(ada):
    key, _ = make_key(user=ada)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    for path in ("/keys", *(f"/keys/{key.public_id}{end}" for end in ("", "/rotate", "/revoke"))):
        assert strict.post(path, NEW).status_code == 403


def test_keys_of_others_are_hidden_and_those_of_colleagues_only_shown(browser, ada):
    foreign, _ = make_key()
    for end in ("", "/rotate", "/revoke"):
        assert browser.get(f"/keys/{foreign.public_id}{end}").status_code == 404
    bob = make_person(organization=ada.personal_organization, role="member")
    key, _ = make_key(user=ada, name="ada's")
    client = Client(headers={"agorai-organization": ada.personal_organization.public_id})
    client.force_login(bob)
    html = html_of(client.get("/keys"))
    assert "ada&#x27;s" in html
    assert f"/keys/{key.public_id}/revoke" not in html
    assert "Someone else made this key" in html_of(client.get(f"/keys/{key.public_id}"))
    assert client.post(f"/keys/{key.public_id}/revoke").status_code == 403
    assert client.post(f"/keys/{key.public_id}", NEW).status_code == 200, "shown, not changed"
    key.refresh_from_db()
    assert (key.name, key.revoked_at) == ("ada's", None)
