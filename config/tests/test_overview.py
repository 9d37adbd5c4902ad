"""The start page of people who signed in."""

import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import Budget
from accounts.tests.factories import PASSWORD, make_client, make_user
from analytics.tests.factories import make_call_at, tiles, words
from apikeys import services as keys
from apikeys.tests.factories import make_key
from common import clock
from common.money import NANO
from config.tests.test_pages import Page
from gateway.models import Invocation
from gateway.services.echo import ECHO_ID, ensure_echo
from gateway.tests.factories import make_call, make_endpoint
from marketplace import services as marketplace
from marketplace.models import MIN_SAMPLES, AIModel, Measurement
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db
FINE = "Nothing needs attention"


@pytest.fixture
def ada():
    return make_user()


@pytest.fixture
def browser(ada):
    client = Client()
    client.force_login(ada)
    return client


def make_callable(**values):
    ai_model = make_model(status="published", pricing=Terms(type="paid", per_call_nano=1_000_000), **values)
    make_endpoint(ai_model)
    return ai_model


def call(ai_model, user, **values):
    return make_call(ai_model, organization=user.personal_organization, **values)


def text_of(browser):
    answer = browser.get("/")
    html = answer.content.decode()
    assert answer.status_code == 200
    Page(html).check()
    return words(answer)


def test_an_account_begins_with_the_first_steps(browser):
    text = text_of(browser)
    assert "First steps" in text
    assert "Make a key" in text
    assert FINE in text
    assert "No model was called this month" in text
    html = browser.get("/").content.decode()
    assert html.count('<li class="done">') == 1, "the address is confirmed"
    assert re.findall(r'class="btn sm primary" href="([^"]+)"', html) == ["/keys"], "one thing to do at a time"


def test_the_steps_are_found_out_and_go_when_all_are_done(browser, ada):
    def done():
        return browser.get("/").content.decode().count('<li class="done">')

    EmailAddress.objects.filter(user=ada).update(verified=False)
    assert done() == 0
    EmailAddress.objects.filter(user=ada).update(verified=True)
    key, _ = make_key(user=ada)
    assert done() == 2
    call(make_callable(), ada)
    assert done() == 3
    keys.change_key(key=key, changes={"spend_limit": keys.SpendLimit(5 * NANO)})
    assert done() == 4
    TOTP.activate(ada, generate_totp_secret())
    assert "First steps" not in text_of(browser)


def test_the_steps_can_be_put_away(browser):
    assert browser.get("/checklist").status_code == 405
    answer = browser.post("/checklist", follow=True)
    assert answer.redirect_chain == [("/", 302)]
    assert "First steps" not in words(answer)
    assert Client().post("/checklist")["Location"].startswith("/accounts/login/")


def test_a_passkey_is_offered_from_the_second_log_in_on_until_there_is_one_or_it_is_put_away(ada):
    def offer(client):
        return "Next time without the password?" in words(client.get("/"))

    def enter():
        client = make_client()
        assert client.post("/accounts/login/", {"login": ada.email, "password": PASSWORD}).status_code == 302
        return client

    first = enter()
    assert not offer(first)
    second, third = enter(), enter()
    assert offer(second)
    assert second.post("/checklist", {"what": "passkey"}, follow=True).redirect_chain == [("/", 302)]
    assert not offer(second)
    assert "First steps" in words(second.get("/"))
    assert offer(third), "in that browser alone"
    credential = {"clientExtensionResults": {"credProps": {"rk": True}}}
    data = {"name": "Phone", "credential": credential}
    Authenticator.objects.create(user=ada, type=Authenticator.Type.WEBAUTHN, data=data)
    assert not offer(third)


def test_the_month_is_summed_from_the_calls(browser, ada):
    dear, cheap = make_callable(name="Dear"), make_callable(name="Cheap")
    for number in range(MIN_SAMPLES):
        call(dear, ada, cost_nano=NANO // 100, latency_ms=100 + number)
    call(cheap, ada, http_status=502, error_code="upstream_error", latency_ms=9000)
    call(make_callable(name="Of others"), make_user(), cost_nano=NANO)
    answer = browser.get("/")
    assert tiles(answer) == ["$0.50", "51", "1.96%", "124\N{NO-BREAK SPACE}ms"]
    text = words(answer)
    assert "1 failed" in text
    assert "median of 50 answers" in text
    assert text.index("Dear") < text.index("Cheap")
    assert "Of others" not in text
    assert f"model={dear.public_id}" in answer.content.decode()
    assert re.search(r'aria-label="Requests a day, the last 14 days: 0 to 50"', answer.content.decode())
    assert "Latest requests" in text


def test_streamed_answers_tell_the_time_to_the_first_token(browser, ada):
    ai_model = make_callable()
    for _number in range(MIN_SAMPLES - 1):
        call(ai_model, ada, first_token_ms=200)
    assert "said from 50 answers a month on" in text_of(browser)
    call(ai_model, ada, first_token_ms=200)
    answer = browser.get("/")
    assert tiles(answer)[3] == "200\N{NO-BREAK SPACE}ms"
    assert "median of 50 streamed answers" in words(answer)


def test_the_month_is_the_organizations(browser, ada):
    """What is still October in Honolulu is November in UTC."""
    organization = ada.personal_organization
    accounts.update_organization(organization=organization, time_zone="Pacific/Honolulu")
    ai_model = make_callable()
    month = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    make_call_at(month + timedelta(hours=1), ai_model, organization=organization, cost_nano=NANO)
    answer = browser.get("/")
    assert tiles(answer)[0] == "$0.00"
    assert "The month begins at midnight in Pacific/Honolulu." in words(answer)
    assert "Times shown in Pacific/Honolulu" in answer.content.decode()


def spent_of(subject, kind, *, limit_nano, spent_nano):
    """A limit of the month of which something is gone."""
    starts_at, ends_at = accounts.window_at("month", "UTC", clock.now())
    fields = {"purpose": "spend_limit", "window": "month", "starts_at": starts_at, "ends_at": ends_at}
    Budget.objects.create(subject_id=subject.pk, subject_kind=kind, limit=limit_nano, spent=spent_nano, **fields)


def test_limits_that_are_nearly_used_ask_for_attention(browser, ada):
    batch, _ = make_key(user=ada, name="batch")
    idle, _ = make_key(user=ada, name="idle")
    spent_of(idle, "key", limit_nano=10 * NANO, spent_nano=8 * NANO - 1)
    assert FINE in text_of(browser)
    spent_of(batch, "key", limit_nano=10 * NANO, spent_nano=8 * NANO)
    spent_of(ada.personal_organization, "organization", limit_nano=10 * NANO, spent_nano=10 * NANO)
    text = text_of(browser)
    assert "$8.00 of $10.00 limit of the key “batch” this month, 80% used" in text
    assert "“idle”" not in text
    text = text[text.index("Needs attention") :]
    assert text.index("$10.00 of $10.00 spend limit") < text.index("limit of the key “batch”"), "what stops comes first"
    assert f"/keys/{batch.public_id}#id_spend_limit" in browser.get("/").content.decode()


def test_keys_that_expire_soon_ask_for_attention(browser, ada):
    at = clock.now()
    make_key(user=ada, name="later", expires_at=at + timedelta(days=15))
    revoked, _ = make_key(user=ada, name="revoked", expires_at=at + timedelta(days=2))
    keys.revoke_key(key=revoked)
    assert FINE in text_of(browser)
    make_key(user=ada, name="soon", expires_at=at + timedelta(days=13, hours=1))
    make_key(user=ada, name="now", expires_at=at + timedelta(hours=1))
    text = text_of(browser)
    assert "The key “soon” expires in 13 days." in text
    assert "The key “now” expires within a day." in text
    assert "later" not in text


def test_models_in_trouble_ask_for_attention(browser, ada):
    models = [make_callable(name=name) for name in ("fine", "gone", "old", "ill")]
    for ai_model in models:
        call(ai_model, ada)
    _fine, gone, old, ill = models
    assert FINE in text_of(browser)
    AIModel.objects.filter(pk=gone.pk).update(is_callable=False)
    marketplace.deprecate(ai_model=old)
    Measurement.objects.create(
        ai_model=ill,
        requests=100,
        sample_size=100,
        recent_uptime_bp=9899,
        days=["none"] * 90,
        measured_at=clock.now(),
    )
    text = text_of(browser)
    assert "/gone cannot be called at the moment." in text
    assert "/old is deprecated: its publisher will take it away." in text
    assert "/ill failed often in the last three days." in text
    assert "/fine " not in text[text.index("Needs attention") : text.index("Latest requests")]


def test_a_day_of_errors_asks_for_attention(browser, ada):
    ai_model = make_callable()
    for number in range(20):
        call(ai_model, ada, http_status=502 if number < 2 else 200)
    assert "10% of today’s requests failed." in text_of(browser)


def test_the_page_takes_the_same_queries_for_few_and_many(browser, ada):
    def count():
        with CaptureQueriesContext(connection) as queries:
            text_of(browser)
        return len(queries)

    def add(number):
        for _one in range(number):
            key, _ = make_key(user=ada, spend_limit=keys.SpendLimit(0), expires_at=clock.now() + timedelta(days=3))
            call(make_callable(), ada, api_key=key)  # each its own publisher's

    text_of(browser)  # opens the account
    add(3)
    few = count()
    add(12)
    assert count() == few
    assert few <= 25


def test_what_has_no_page_is_not_linked(browser, ada):
    """The built-in model of test keys, of which nothing is wrong; and a model that its publisher withdrew."""
    ensure_echo()
    echo = AIModel.objects.get(pk=ECHO_ID)
    call(echo, ada, mode="test")
    assert FINE in text_of(browser)
    withdrawn = make_callable(name="Withdrawn")
    call(withdrawn, ada)
    AIModel.objects.filter(pk=withdrawn.pk).update(status=AIModel.Status.ARCHIVED)
    html = browser.get("/").content.decode()
    assert "Echo</b>" in html
    assert "Withdrawn</b>" in html
    addresses = re.findall(r'href="(/[^"#]*)', html)
    assert not [address for address in addresses if address.startswith("/models/")]
    assert f"/requests?model={withdrawn.public_id}" in addresses
    assert browser.get(f"/requests?model={withdrawn.public_id}").status_code == 200
    for made in Invocation.objects.all():
        page = browser.get(f"/requests/{made.public_id}").content.decode()
        assert not re.findall(r'href="/models/[^"]+"', page)
