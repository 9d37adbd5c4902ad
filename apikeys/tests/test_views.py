"""The pages of keys, without JavaScript."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import services as accounts
from accounts.models import Budget
from apikeys import services
from apikeys.models import APIKey, KeyClient
from apikeys.tests.factories import make_key, make_listing, make_person
from common import clock
from common.ids import uuid7
from common.money import NANO

pytestmark = pytest.mark.django_db

NEW = {
    "name": "laptop",
    "mode": "live",
    "access": "all",
    "models": "",
    "spend_limit": "5",
    "window": "month",
    "expires": "90",
    "rate_limit": "",
    "allowed_ips": "",
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
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]* src=)", html)
    assert not re.search(r"<[^>]* on\w+=", html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    return html


def form_of(browser, path="/keys?new"):
    """The values that the form on the page would send, changed by nobody."""
    form = browser.get(path).context["form"]
    values = {field.html_name: field.value() for field in form}
    return {name: "" if value is None else value for name, value in values.items()}


def send_new(browser, **values):
    return browser.post("/keys", NEW | {"once": form_of(browser)["once"]} | values)


def test_strangers_are_sent_to_log_in():
    for path in ("/keys", f"/keys/{make_key()[0].public_id}"):
        answer = Client().get(path)
        assert answer.status_code == 302
        assert answer["Location"].startswith(reverse("account_login"))


def test_an_account_without_keys_is_told_what_a_key_is_for(browser, ada, settings):
    html = html_of(browser.get("/keys"))
    assert "No keys yet" in html
    assert f"OPENAI_BASE_URL={settings.SITE_URL}/v1" in re.sub("<[^>]+>", "", html)
    assert '<dialog class="wide" id="new-key"' in html
    assert '<noscript><a class="btn primary" href="/keys?new">Make a key</a></noscript>' in html
    make_key(user=ada)
    html = html_of(browser.get("/keys"))
    assert "No keys yet" not in html
    assert '<noscript><a class="btn primary" href="/keys?new">New key</a></noscript>' in html


def test_the_form_for_a_new_key_is_in_a_dialog_and_on_a_page_of_its_own(browser):
    for path in ("/keys", "/keys?new"):
        html = html_of(browser.get(path))
        assert ('id="new-key"' in html) == (path == "/keys")
        assert html.count("Make key") == 1
        assert "Requests stop at this amount. You are never charged more." in html
        assert 'value="20.00"' in html
        assert '<option value="90" selected>' in html


def test_the_dialog_shows_its_faults_in_place_and_a_new_key_as_the_page(browser):
    values = NEW | {"once": form_of(browser)["once"]}
    htmx = {"hx-request": "true"}
    answer = browser.post("/keys", values | {"name": ""}, headers=htmx)
    html = html_of(answer, 422)
    assert "This field is required" in html
    assert 'role="alert"' in html
    assert "<html" not in html
    answer = browser.post("/keys", values, headers=htmx)
    assert len(set(SECRET.findall(html_of(answer)))) == 1
    assert (answer["HX-Retarget"], answer["HX-Reselect"]) == ("#main", "#main > *")
    answer = browser.post("/keys", values, headers=htmx)
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/keys")
    assert APIKey.objects.count() == 1
    assert "made one key then" in html_of(browser.get("/keys"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Requests stop at $5.00 a month. You are never charged more."),
        ({"window": "lifetime"}, "Requests stop at $5.00 in all."),
        ({"spend_limit": ""}, "the limits of your account alone count"),
        ({"mode": "test"}, "Calls with a test key are never charged."),
    ],
)
def test_a_new_key_says_what_it_can_cost_at_most(browser, values, words):
    html = html_of(send_new(browser, **values))
    assert words in html
    assert f'<h2 id="keys-title">{"Test" if "mode" in values else "Live"} keys</h2>' in html


def test_a_new_key_is_shown_once_and_kept_nowhere(browser, ada, settings, caplog, capfd):
    answer = send_new(browser)
    html = html_of(answer)
    assert answer["Cache-Control"] == "no-store"
    (secret,) = set(SECRET.findall(html))
    assert f"OPENAI_BASE_URL={settings.SITE_URL}/v1" in re.sub("<[^>]+>", "", html)
    found = services.verify_key(secret, address="203.0.113.8", at=clock.now())
    assert (found.name, found.user_id, found.organization) == ("laptop", ada.pk, ada.personal_organization)
    assert (found.mode, found.permissions, found.allowed_models) == ("live", ["models:read", "models:invoke"], [])
    assert 89 <= (found.expires_at - clock.now()).days <= 90
    assert services.spend_limits_of([found.id])[found.id].limit == 5 * NANO
    for path in ("/keys", f"/keys/{found.public_id}", f"/keys/{found.public_id}/rotate"):
        assert secret not in html_of(browser.get(path))
    assert secret not in str(answer.headers) + str(answer.cookies) + caplog.text + "".join(capfd.readouterr())
    assert dict(browser.session)
    assert secret not in str(dict(browser.session))


def test_a_form_that_is_sent_again_makes_no_second_key(browser, ada):
    values = NEW | {"once": form_of(browser)["once"]}
    html_of(browser.post("/keys", values))
    answer = browser.post("/keys", values, follow=True)
    assert answer.redirect_chain == [("/keys", 302)]
    html = html_of(answer)
    assert "made one key then" in html
    assert not SECRET.search(html)
    assert APIKey.objects.count() == 1


@pytest.mark.parametrize("once", ["", "x", "WyJ4IiwieSJd:1abc:nonsense"])
def test_a_form_of_nobody_is_asked_for_again(browser, once):
    answer = browser.post("/keys", NEW | {"once": once})
    assert "This form was out of date" in html_of(answer, 422)
    assert not APIKey.objects.exists()
    fresh = answer.context["form"]["once"].value()
    html_of(browser.post("/keys", NEW | {"once": fresh}))
    assert APIKey.objects.count() == 1


def test_a_form_of_someone_else_is_not_taken(browser, ada):
    other = Client()
    other.force_login(make_person())
    html_of(browser.post("/keys", NEW | {"once": form_of(other)["once"]}), 422)
    assert not APIKey.objects.exists()


def test_a_key_may_live_forever_and_spend_without_a_limit(browser):
    html_of(send_new(browser, expires="never", spend_limit=""))
    key = APIKey.objects.get()
    assert key.expires_at is None
    assert services.spend_limits_of([key.id]) == {}


def test_a_key_can_be_narrowed_in_every_way(browser, ada):
    ai_model = make_listing(ada.personal_organization)
    name = f"{ada.personal_organization.slug}/{ai_model.slug}"
    values = {"mode": "test", "access": "chosen", "models": f" {name}\n", "spend_limit": "1,000", "window": "day"}
    more = {"rate_limit": "60", "allowed_ips": "203.0.113.8, 2001:db8::/32", "extra": ["analytics:read"]}
    html_of(send_new(browser, **values, **more))
    key = APIKey.objects.get()
    assert (key.mode, key.allowed_models, key.rate_limit) == ("test", [ai_model.pk], 60)
    assert key.allowed_ips == ["203.0.113.8/32", "2001:db8::/32"]
    assert key.permissions == ["models:read", "models:invoke", "analytics:read"]
    limit = services.spend_limits_of([key.id])[key.id]
    assert (limit.limit, limit.window) == (1000 * NANO, "day")
    html = html_of(browser.get(f"/keys/{key.public_id}"))
    assert name in html
    assert "60 calls a minute" in html
    html_of(send_new(browser, access="read"))
    assert APIKey.objects.get(rate_limit=None).permissions == ["models:read"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "a\0b"}, "Null characters are not allowed"),
        ({"spend_limit": "lots"}, "Enter an amount such as 20.00."),
        ({"spend_limit": "1e9"}, "Enter an amount such as 20.00."),
        ({"spend_limit": "-1"}, "Enter an amount of at least 0."),
        ({"window": "year"}, "not one of the available choices"),
        ({"extra": ["models:fly"]}, "not one of the available choices"),
        ({"access": "some"}, "not one of the available choices"),
        ({"mode": "demo"}, "not one of the available choices"),
        ({"expires": "36500"}, "not one of the available choices"),
        ({"rate_limit": "0"}, "greater than or equal to 1"),
        ({"allowed_ips": "203.0.113.8 nowhere"}, "nowhere: Give an address or a network"),
        ({"allowed_ips": "::1 " * 101}, "At most 100"),
        ({"access": "chosen"}, "Name at least one model"),
        ({"models": "acme/aurora"}, "Choose “Chosen models”"),
        ({"access": "chosen", "models": "acme/none"}, "acme/none: There is no such model, or you may not see it."),
    ],
)
def test_a_faulty_form_says_what_is_wrong_keeps_what_was_typed_and_makes_nothing(browser, values, words):
    filled = {"name": "my laptop", "rate_limit": "77", "extra": ["analytics:read"], **values}
    html = html_of(send_new(browser, **filled), 422)
    assert words in html
    assert not APIKey.objects.exists()
    if "name" not in values:
        assert 'value="my laptop"' in html
    assert ('value="77"' in html) == ("rate_limit" not in values)
    assert "<details open" in re.sub(r' class="[^"]*"', "", html), "what is set under More is not folded away"


def test_permissions_beyond_a_role_are_not_offered(ada):
    organization = ada.personal_organization
    bob = make_person(organization=organization, role="billing")
    client = Client(headers={"agorai-organization": organization.public_id})
    client.force_login(bob)
    html = html_of(client.get("/keys"))
    assert 'value="read" ' in html
    assert 'value="all"' not in html
    assert "webhooks:write" not in html
    once = form_of(client)["once"]
    html_of(client.post("/keys", NEW | {"once": once}), 422)
    html_of(client.post("/keys", NEW | {"once": once, "access": "read"}))
    assert APIKey.objects.get().permissions == ["models:read"]


def test_the_list_names_the_limit_that_counts(browser, ada):
    organization = ada.personal_organization
    make_key(user=ada, name="free")
    make_key(user=ada, name="trial", mode="test")
    limited, _ = make_key(user=ada, name="limited", spend_limit=services.SpendLimit(50 * NANO))
    html = html_of(browser.get("/keys"))
    assert "$0.00 of $50.00 key limit this month" in html
    assert "No key limit<" in html
    assert "trial" not in html
    html = html_of(browser.get("/keys?mode=test"))
    assert "Never charged" in html
    assert "$50.00 key limit" not in html
    kind = Budget.SubjectKind.ORGANIZATION
    accounts.set_spend_limit(
        subject_kind=kind, subject_id=organization.pk, limit_nano=20 * NANO, window="week", time_zone="UTC"
    )
    html = html_of(browser.get("/keys"))
    assert "No key limit. Account: $0.00 of $20.00 this week" in html
    assert "Tighter than the key limit of $50.00: account, $0.00 of $20.00 this week" in html
    credit = accounts.ensure_credit(organization=organization, limit_nano=5 * NANO)
    html = html_of(browser.get("/keys"))
    assert "No key limit. Credit: $0.00 of $5.00 spent" in html
    assert "Tighter than the key limit of $50.00: credit, $0.00 of $5.00 spent" in html
    accounts.change_limit(budget=credit, limit_nano=0)
    assert "No credit left: $0.00 of $0.00 spent" in html_of(browser.get("/keys"))
    accounts.change_limit(budget=credit, limit_nano=5 * NANO)
    services.change_key(key=limited, changes={"spend_limit": services.SpendLimit(0, window="day")})
    html = html_of(browser.get("/keys"))
    assert "$0.00 of $0.00 key limit today: blocked until" in html
    assert html.count("Raise limit") == 1


def test_the_list_says_what_a_key_may_and_until_when(browser, ada):
    at = clock.now()
    ai_model = make_listing(ada.personal_organization)
    make_key(user=ada, name="a", allowed_models=[ai_model.pk])
    make_key(user=ada, name="b", permissions=["models:read"], expires_at=at + timedelta(days=3, hours=1))
    make_key(user=ada, name="c", permissions=["keys:write"], expires_at=at + timedelta(hours=1))
    html = html_of(browser.get("/keys"))
    for words in ("1 model", "Read only", "No calls", "Expires in 3 days", "Expires within a day"):
        assert f">{words}<" in html, words


def test_keys_that_ended_stand_last_and_a_long_list_has_pages(browser, ada):
    first, _ = make_key(user=ada, name="the-revoked-one")
    services.revoke_key(key=first)
    gone, _ = make_key(user=ada, name="the-expired-one")
    APIKey.objects.filter(pk=gone.pk).update(expires_at=clock.now() - timedelta(seconds=1))
    for number in range(50):
        make_key(user=ada, name=f"n{number}")
    page, rest = html_of(browser.get("/keys")), html_of(browser.get("/keys?page=2"))
    assert "the-revoked-one" not in page
    assert 'href="?page=2"' in page
    assert ">Revoked<" in rest
    assert ">Expired<" in rest
    assert "n49" not in rest
    for number in ("0", "99", "x", "-1", "9" * 5000):
        html_of(browser.get("/keys", {"page": number}))


def test_test_keys_are_shown_first_where_there_are_no_others(browser, ada):
    make_key(user=ada, name="trial", mode="test")
    assert "trial" in html_of(browser.get("/keys"))
    assert "No live keys." in html_of(browser.get("/keys?mode=live"))
    make_key(user=ada)
    html = html_of(browser.get("/keys?mode=demo"))
    assert "trial" not in html
    assert '<a class="btn sm" href="?mode=live" aria-current="true">Live</a>' in html


@pytest.mark.parametrize("path", ["/keys", "/keys?new"])
def test_the_list_takes_the_same_queries_for_3_and_30_keys(browser, ada, path):
    def count():
        with CaptureQueriesContext(connection) as queries:
            html_of(browser.get(path))
        return len(queries)

    for _ in range(3):
        make_key(user=ada, spend_limit=services.SpendLimit(NANO))
    count()  # the first page of a session writes down its device
    few = count()
    for _ in range(27):
        make_key(user=make_person(organization=ada.personal_organization), spend_limit=services.SpendLimit(NANO))
    assert count() == few


def test_a_key_can_be_changed_on_its_page(browser, ada):
    key, secret = make_key(user=ada, spend_limit=services.SpendLimit(5 * NANO))
    path = f"/keys/{key.public_id}"
    html = html_of(browser.get(path))
    assert 'value="5.00"' in html
    assert secret not in html
    values = form_of(browser, path)
    answer = browser.post(path, values | {"name": "new", "access": "read", "spend_limit": "", "expires": "30"})
    assert (answer.status_code, answer["Location"]) == (302, path)
    key.refresh_from_db()
    assert (key.name, key.permissions) == ("new", ["models:read"])
    assert 29 <= (key.expires_at - clock.now()).days <= 30
    assert services.spend_limits_of([key.id]) == {}
    html = html_of(browser.post(path, values | {"name": "", "rate_limit": "9"}), 422)
    assert 'value="9"' in html


def test_a_form_that_changes_nothing_changes_nothing(browser, ada):
    key, _ = make_key(
        user=ada,
        permissions=["models:invoke", "keys:write"],
        allowed_models=[make_listing(ada.personal_organization).pk],
        allowed_ips=["203.0.113.0/24"],
        rate_limit=5,
        expires_at=clock.now() + timedelta(days=400),
        spend_limit=services.SpendLimit(NANO // 3, window="lifetime"),
    )

    def stored():
        row = APIKey.objects.filter(pk=key.pk).values().get()
        limit = services.spend_limits_of([key.pk])[key.pk]
        return row | {"updated_at": None}, (limit.pk, limit.limit, limit.window)

    before = stored()
    path = f"/keys/{key.public_id}"
    assert browser.post(path, form_of(browser, path)).status_code == 302
    assert stored() == before


def test_chosen_models_are_let_go_by_choosing_all(browser, ada):
    key, _ = make_key(user=ada, allowed_models=[make_listing(ada.personal_organization).pk])
    path = f"/keys/{key.public_id}"
    browser.post(path, form_of(browser, path) | {"access": "all"})
    key.refresh_from_db()
    assert key.allowed_models == []


def test_a_key_that_was_allowed_more_than_its_maker_is_now_can_be_renamed(ada):
    organization = ada.personal_organization
    bob = make_person(organization=organization, role="admin")
    key, _ = make_key(user=bob, organization=organization, permissions=["models:invoke", "webhooks:write"])
    organization.memberships.filter(user=bob).update(role="member")
    client = Client(headers={"agorai-organization": organization.public_id})
    client.force_login(bob)
    path = f"/keys/{key.public_id}"
    assert client.post(path, form_of(client, path) | {"name": "renamed"}).status_code == 302
    values = form_of(client, path) | {"extra": ["webhooks:write", "keys:write"]}
    assert "does not cover webhooks:write" in html_of(client.post(path, values), 422)
    key.refresh_from_db()
    assert (key.name, key.permissions) == ("renamed", ["models:invoke", "webhooks:write"])


def test_rotating_asks_first_and_shows_the_new_secret_once(browser, ada):
    key, old = make_key(user=ada)
    path = f"/keys/{key.public_id}/rotate"
    html_of(browser.get(path))
    key.refresh_from_db()
    assert key.overlap_until is None, "asking changes nothing"
    values = form_of(browser, path)
    html_of(browser.post(path, values | {"overlap_seconds": "5"}), 422)
    answer = browser.post(path, values | {"overlap_seconds": "259200"})
    (secret,) = set(SECRET.findall(html_of(answer)))
    assert answer["Cache-Control"] == "no-store"
    for one in (old, secret):
        services.verify_key(one, address="", at=clock.now())
    again = browser.post(path, values | {"overlap_seconds": "0"}, follow=True)
    assert "was rotated already" in html_of(again)
    for one in (old, secret):
        services.verify_key(one, address="", at=clock.now())


def test_revoking_asks_first(browser, ada):
    key, _ = make_key(user=ada)
    path = f"/keys/{key.public_id}/revoke"
    html = html_of(browser.get(path))
    assert f"Programs that use “production” ({key}) stop working within a second." in html
    assert "It was never used." in html
    services.touch_keys([services.Use(key.pk, "203.0.113.8", "OpenAI/Python 3.54.0")])
    for page in (path, "/keys"):
        html = html_of(browser.get(page))
        assert "The key is in use." in html
        assert "by openai-python 3.54.0 from 203.0.113.8" in html
    key.refresh_from_db()
    assert key.revoked_at is None
    for _again in range(2):
        answer = browser.post(path)
        assert (answer.status_code, answer["Location"]) == (302, "/keys")
    html = html_of(browser.get("/keys"))
    assert "is revoked" in html
    assert ">Revoked<" in html
    assert f"/keys/{key.public_id}/rotate" not in html
    assert "Change this key" not in html_of(browser.get(f"/keys/{key.public_id}"))
    assert browser.get(path).status_code == 302
    assert browser.get(f"/keys/{key.public_id}/rotate").status_code == 409
    assert browser.post(f"/keys/{key.public_id}", NEW).status_code == 409


def test_the_card_of_a_new_secret_waits_for_the_first_request(browser, ada):
    html = html_of(send_new(browser))
    assert "Waiting for the first request" in html
    key = APIKey.objects.get()
    path = f"/keys/{key.public_id}?part=use"
    assert f'hx-get="{path}"' in html
    assert (browser.get(path).status_code, browser.get(path).content) == (204, b""), "nothing to swap in yet"
    services.touch_keys([services.Use(key.pk, "203.0.113.8", "OpenAI/Python 3.54.0")])
    answer = browser.get(path)
    assert answer.status_code == 286, "tells htmx to stop"
    assert re.search(r"Received \d\d:\d\d:\d\d from openai-python 3.54.0", answer.content.decode())
    assert "<html" not in answer.content.decode()
    APIKey.objects.update(last_used_at=None, created_at=clock.now() - timedelta(minutes=11))
    answer = browser.get(path)
    assert answer.status_code == 286
    assert "No request within ten minutes." in answer.content.decode()


def test_rotating_says_which_clients_used_the_key_lately(browser, ada):
    key, _ = make_key(user=ada)
    services.touch_keys([services.Use(key.pk, "203.0.113.8", "OpenAI/Python 3.54.0")])
    services.touch_keys([services.Use(key.pk, "203.0.113.9", "curl/8.5.0")])
    html = html_of(browser.get(f"/keys/{key.public_id}/rotate"))
    assert "2 clients used it in the last 24 hours" in html
    for words in ("openai-python 3.54.0", "203.0.113.8", "curl 8.5.0", "203.0.113.9"):
        assert words in html
    KeyClient.objects.update(last_seen_at=clock.now() - timedelta(hours=25))
    assert "in the last 24 hours" not in html_of(browser.get(f"/keys/{key.public_id}/rotate"))


def test_the_page_of_a_key_shows_its_limits_clients_and_trail(browser, ada):
    key, _ = make_key(user=ada, rate_limit=60, spend_limit=services.SpendLimit(5 * 10**9))
    services.touch_keys([services.Use(key.pk, "203.0.113.8", "curl/8.5.0")])
    services.change_key(key=key, changes={"name": "renamed"})
    html = html_of(browser.get(f"/keys/{key.public_id}"))
    for words in ("Spend limit of this key", "of $5.00 this month", "of 60 a minute", "curl 8.5.0", "203.0.113.8"):
        assert words in html
    trail = html[html.index("What was done to it") :]
    assert trail.index("Changed") < trail.index("Made")
    test_key, _ = make_key(user=ada, mode="test")
    assert "agorai/echo" in html_of(browser.get(f"/keys/{test_key.public_id}"))


def test_every_form_needs_its_csrf_token(ada):
    key, _ = make_key(user=ada)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    for path in ("/keys", *(f"/keys/{key.public_id}{end}" for end in ("", "/rotate", "/revoke"))):
        assert strict.post(path, NEW).status_code == 403


def test_keys_of_others_are_hidden(browser):
    foreign, _ = make_key()
    for end in ("", "/rotate", "/revoke", "?part=use"):
        assert browser.get(f"/keys/{foreign.public_id}{end}").status_code == 404
        assert browser.post(f"/keys/{foreign.public_id}{end}").status_code == 404
    assert browser.get(f"/keys/key_{uuid7().hex}").status_code == 404


def test_keys_of_colleagues_are_shown_and_admins_may_change_them(ada):
    organization = ada.personal_organization
    key, _ = make_key(user=ada, name="ada's")
    path = f"/keys/{key.public_id}"

    def login(role):
        client = Client(headers={"agorai-organization": organization.public_id})
        client.force_login(make_person(organization=organization, role=role))
        return client

    member = login("member")
    html = html_of(member.get("/keys"))
    assert "ada&#x27;s" in html
    assert f"{path}/revoke" not in html
    html = html_of(member.get(path))
    assert "Someone else made this key" in html
    assert "Change this key" not in html
    for end in ("", "/rotate", "/revoke"):
        assert member.post(f"{path}{end}", NEW).status_code == 403
    assert member.get(f"{path}/revoke").status_code == 403
    key.refresh_from_db()
    assert (key.name, key.revoked_at) == ("ada's", None)
    admin = login("admin")
    assert f"{path}/revoke" in html_of(admin.get("/keys"))
    assert admin.post(path, form_of(admin, path) | {"name": "ours"}).status_code == 302
    admin.post(f"{path}/revoke")
    key.refresh_from_db()
    assert (key.name, key.revoked_at is None) == ("ours", False)
