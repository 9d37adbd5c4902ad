"""The request log and the receipt of one request: found, filtered, paged, explained, and nobody else's."""

import json
import re
from datetime import timedelta
from html import unescape
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from accounts.services import current_budgets
from analytics.querysets import Period, Selection, listed, made, page_of
from analytics.tests.factories import cells, words
from analytics.views.requests import PAGE_SIZE
from apikeys.tests.factories import make_key, make_person
from billing.services import ensure_account
from common import clock
from common.ids import encode, uuid7
from gateway.models import Rule
from gateway.services.calls import Reserve, Settle, move
from gateway.tests.factories import make_call
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db

PER_TOKEN = Terms(
    type="paid", per_call_nano=10_000_000, input_nano_per_million=400_000_000, output_nano_per_million=1_200_000_000
)


@pytest.fixture
def person():
    return make_person()


@pytest.fixture
def organization(person):
    return person.personal_organization


@pytest.fixture
def ai_model():
    return make_model(status="published", pricing=PER_TOKEN)


@pytest.fixture
def client(person):
    client = Client()
    client.force_login(person)
    return client


def ids(answer):
    return [re.search(r"req_\w{26}", row[0])[0] for row in cells(answer)]


def link(answer, rel):
    found = re.search(rf'<a class="btn sm" href="([^"]*)" rel="{rel}"', answer.content.decode())
    return found and unescape(found[1])


# --- The log ---


def test_calls_are_listed_newest_first_and_lead_to_their_receipts(client, organization, ai_model):
    made = [make_call(ai_model, organization=organization).public_id for _ in range(3)]
    answer = client.get("/requests")
    assert ids(answer) == made[::-1]
    for id in made:
        assert f'href="/requests/{id}"' in answer.content.decode()
        assert client.get(f"/requests/{id}").status_code == 200


def test_pages_go_to_older_calls_and_back(client, organization, ai_model):
    made = [make_call(ai_model, organization=organization).public_id for _ in range(2 * PAGE_SIZE + 3)][::-1]
    first = client.get("/requests?range=7d")
    second = client.get(link(first, "next"))
    third = client.get(link(second, "next"))
    assert [*ids(first), *ids(second), *ids(third)] == made
    assert (link(first, "prev"), link(third, "next")) == (None, None)
    assert "range=7d" in link(second, "prev")
    assert ids(client.get(link(third, "prev"))) == ids(second)
    back = client.get(link(second, "prev"))
    assert ids(back) == ids(first)
    assert link(back, "prev") is None
    newest = make_call(ai_model, organization=organization).public_id
    assert ids(client.get(link(second, "prev")))[-1] == made[PAGE_SIZE - 1], "the calls just before, all of them"
    assert ids(client.get("/requests"))[0] == newest


def test_filters_may_be_combined(client, organization, ai_model):
    key, _secret = make_key(organization=organization, user=organization.personal_owner, name="batch")
    other = make_model(status="published", name="Other")
    good = make_call(ai_model, organization=organization, api_key=key)
    bad = make_call(ai_model, organization=organization, http_status=502, error_code="upstream_error")
    slow = make_call(other, organization=organization, api_key=key, http_status=504, error_code="upstream_timeout")
    running = make_call(other, organization=organization, is_settled=False)

    def found(query):
        return set(ids(client.get(f"/requests?{query}")))

    assert found("") == {one.public_id for one in (good, bad, slow, running)}
    assert found(f"model={ai_model.public_id}") == {good.public_id, bad.public_id}
    assert found(f"key={key.public_id}") == {good.public_id, slow.public_id}
    assert found("key=playground") == {bad.public_id, running.public_id}
    assert found("status=ok") == {good.public_id}
    assert found("status=error") == {bad.public_id, slow.public_id}
    assert found("status=running") == {running.public_id}
    assert found("status=502") == found("status=upstream_error") == {bad.public_id}
    assert found(f"key={key.public_id}&status=error&model={other.public_id}&range=24h") == {slow.public_id}
    assert found("model=nonsense&key=nonsense&status=%00&before=x&after=y") == found("")
    page = client.get(f"/requests?key={key.public_id}&status=ok&model={other.public_id}")
    assert "No request matches" in words(page)
    assert f'<option value="{key.public_id}" selected>' in page.content.decode()
    assert f'<option value="{other.public_id}" selected>' in page.content.decode()


def test_an_id_goes_straight_to_its_request(client, organization, ai_model):
    call = make_call(ai_model, organization=organization)
    answer = client.get(f"/requests?id=%20{call.public_id}%20")
    assert (answer.status_code, answer["Location"]) == (302, f"/requests/{call.public_id}")
    foreign = make_call(ai_model, organization=make_person().personal_organization)
    for id in (foreign.public_id, encode("req", uuid7()), "req_nonsense", "<b>"):
        answer = client.get("/requests", {"id": id})
        assert answer.status_code == 200
        assert f"no request with the id “{id}”" in words(answer)


def test_another_organization_sees_nothing(client, ai_model):
    key, _secret = make_key(name="theirs")
    make_call(ai_model, organization=key.organization, api_key=key)
    for query in ("", f"?key={key.public_id}", f"?model={ai_model.public_id}"):
        answer = client.get(f"/requests{query}")
        assert "theirs" not in words(answer)
        assert "<tbody>" not in answer.content.decode()
    assert "No requests yet" in words(client.get("/requests"))
    assert "Authorization: Bearer $AGORAI_API_KEY" in words(client.get("/requests"))


def test_a_filter_by_a_hidden_model_does_not_tell_its_name(client, organization, ai_model):
    make_call(ai_model, organization=organization)
    draft = make_model(name="Unheard of")
    assert "unheard-of" not in words(client.get("/requests", {"model": draft.public_id}))
    own = make_model(name="Unheard of", publisher=organization)
    assert f"{organization.slug}/unheard-of" in words(client.get("/requests", {"model": own.public_id}))


def test_the_log_is_for_people_who_signed_in():
    for path in ("/requests", f"/requests/{encode('req', uuid7())}"):
        answer = Client().get(path)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


def test_as_many_queries_for_three_calls_as_for_thirty(client, organization):
    def count(path):
        with CaptureQueriesContext(connection) as found:
            assert client.get(path).status_code == 200
        return len(found)

    def add(number):
        for _ in range(number):
            key, _secret = make_key(organization=organization, user=organization.personal_owner)
            call = make_call(make_model(status="published"), organization=organization, api_key=key)
        return call

    call = add(3)
    count("/requests")
    few = count("/requests"), count(f"/requests?key={call.api_key.public_id}"), count(f"/requests/{call.public_id}")
    add(27)
    more = count("/requests"), count(f"/requests?key={call.api_key.public_id}"), count(f"/requests/{call.public_id}")
    assert more == few
    assert few[0] <= 15


# --- The receipt ---


def receipt(client, call):
    return client.get(f"/requests/{call.public_id}")


def test_a_receipt_shows_how_the_cost_comes_about(client, organization, person, ai_model, settings):
    settings.WELCOME_CREDIT = "5"
    credit = ensure_account(organization)
    key, _secret = make_key(organization=organization, user=person, name="batch")
    call = settled(ai_model, organization, hold=50_000_000, cost=10_016_000, api_key=key, budgets=[credit.id])
    page = words(receipt(client, call))
    assert cells(receipt(client, call)) == [
        ["Requests answered", "1", "$0.01 each", "$0.01"],
        ["Tokens in", "10", "$0.40 per million", "$0.000004"],
        ["Tokens out", "10", "$1.20 per million", "$0.000012"],
    ]
    for said in (
        "Charged $0.01",
        "The usage that the upstream reported, at the price when the call began. usage_reported",
        "Held when it began $0.05 of the organization's credit",
        "Returned when it ended $0.04",
        encode("prc", call.price_id),
        "Reported by the upstream",
        "40 ms until the first token",
        "60 ms for the rest",
        "version 1.0.0",
        "batch",
        "Chat completion, streamed",
        f"/v1/requests/{call.public_id}",
    ):
        assert said in page, said
    assert current_budgets([organization.id])[0].spent == 10_016_000


def test_a_hold_that_grew_and_an_orphan_are_explained(client, organization, ai_model):
    call = settled(
        ai_model, organization, hold=20_000_000, cost=10_016_000, rule=Rule.ORPHAN_PROGRESS, usage_source="counted"
    )
    page = words(receipt(client, call))
    assert "Noted by us while the request ran, before the gateway stopped" in page
    assert cells(receipt(client, call))[0] == ["Requests answered", "1", "$0.01 each", "$0.01"]
    assert "Added to it while it ran" not in page
    running = settled(ai_model, organization, hold=20_000_000, cost=None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_extend(%s, 30000000)", [running.id])
    page = words(receipt(client, running))
    assert "Held when it began $0.02" in page
    assert "Added to it while it ran $0.01" in page


def test_what_goes_beyond_the_hold_is_said_not_to_be_charged(client, organization, ai_model):
    call = settled(ai_model, organization, hold=10_000_000, cost=10_016_000)
    assert call.overrun_nano == 16_000
    assert cells(receipt(client, call))[-1] == ["Beyond the hold: not charged", "", "−$0.000016"]
    assert "Charged $0.01" in words(receipt(client, call))


def test_a_test_key_and_a_free_model_are_said_to_cost_nothing(client, organization, ai_model):
    call = settled(ai_model, organization, hold=0, cost=0, rule=Rule.TEST_MODE, mode="test")
    page = receipt(client, call)
    assert cells(page)[-1][0] == "Not charged"
    assert "Charged $0.00" in words(page)
    assert "The key is in test mode: nothing is charged." in words(page)
    free = make_model(status="published", name="Free")
    page = words(receipt(client, settled(free, organization, hold=0, cost=0, rule=Rule.FREE)))
    assert "The model is free." in page
    assert "Free, prc_" in page


def test_a_failed_request_says_what_happened_and_that_it_costs_nothing(client, organization, ai_model):
    call = settled(
        ai_model,
        organization,
        hold=50_000_000,
        cost=0,
        rule=Rule.UPSTREAM_TIMEOUT,
        http_status=504,
        error_code="upstream_timeout",
        input_tokens=0,
        output_tokens=0,
        usage_source="",
        first_token_ms=None,
    )
    page = receipt(client, call)
    assert 'href="/docs/errors#upstream_timeout"' in page.content.decode()
    assert "The upstream did not answer in time: nothing is charged." in words(page)
    assert cells(page)[0] == ["Requests answered", "0", "$0.01 each", "$0.00"]
    assert "Returned when it ended $0.05" in words(page)
    assert "100 ms until the whole answer was there" in words(page)


def test_a_receipt_says_the_same_as_the_api(client, organization, ai_model):
    call = settled(ai_model, organization, hold=50_000_000, cost=10_016_000)
    html = receipt(client, call).content.decode()
    block = html[html.index('id="receipt-json"') :]
    shown = unescape(re.sub(r"<[^>]+>", "", re.search(r"<pre.*?</pre>", block, re.S)[0]))
    assert json.loads(shown) == client.get(f"/api/requests/{call.public_id}").json()


def test_a_request_under_way_is_looked_at_until_it_ends(client, organization, ai_model):
    call = make_call(ai_model, organization=organization, is_settled=False)
    path = f"/requests/{call.public_id}"
    page = client.get(path)
    assert "This request is under way." in words(page)
    assert f'hx-get="{path}?part=receipt"' in page.content.decode()
    part = client.get(f"{path}?part=receipt").content.decode()
    assert part.strip().startswith('<div class="stack gap-5" id="receipt" hx-get=')
    move(settles=[end_of(call.id, cost_nano=0)])
    part = client.get(f"{path}?part=receipt").content.decode()
    assert part.strip().startswith('<div class="stack gap-5" id="receipt">')
    assert "hx-get" not in part
    assert "<h1" not in part


def test_somebody_elses_request_is_not_found_like_one_that_never_was(client, ai_model):
    foreign = make_call(ai_model, organization=make_person().personal_organization).public_id
    unknown = encode("req", uuid7())

    def answer(id):
        response = client.get(f"/requests/{id}")
        assert response.status_code == 404
        body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())
        return body.replace(response["X-Request-ID"], "").replace(id, "").replace(id.removeprefix("req_"), "")

    assert answer(foreign) == answer(unknown)
    for part in ("?part=receipt", "?part=nonsense"):
        assert client.get(f"/requests/{foreign}{part}").status_code == 404


def settled(ai_model, organization, *, hold, cost, mode="live", api_key=None, budgets=(), **ending):
    """A streamed chat call with a hold, as the gateway makes one. cost: None while it runs."""
    reserve = Reserve.of(
        id=uuid7(),
        organization_id=organization.pk,
        user_id=None,
        api_key_id=api_key and api_key.pk,
        publisher_id=ai_model.publisher_id,
        ai_model_id=ai_model.pk,
        version_id=ai_model.current_version_id,
        price_id=ai_model.price.pk,
        kind="chat",
        mode=mode,
        is_streamed=True,
        hold_nano=hold,
        budget_ids=tuple(budgets),
    )
    move(reserves=[reserve])
    if cost is not None:
        move(settles=[end_of(reserve.id, cost_nano=cost, **ending)])
    return organization.invocations.get(pk=reserve.id)


def end_of(id, **ending):
    fields = {
        "rule": Rule.USAGE_REPORTED,
        "input_tokens": 10,
        "output_tokens": 10,
        "usage_source": "reported",
        "http_status": 200,
        "error_code": "",
        "latency_ms": 100,
        "first_token_ms": 40,
    }
    return Settle(id=id, **{**fields, **ending})


# --- Many calls ---

MANY = """
INSERT INTO gateway_invocation (id, state, organization_id, publisher_id, ai_model_id, version_id, price_id, kind, mode,
  is_streamed, is_demo, budget_ids, hold_nano, started_at, beat_at, settled_at, rule, cost_nano, overrun_nano,
  input_tokens, output_tokens, usage_source, http_status, error_code, latency_ms)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
       'final', CASE WHEN n %% 20 = 0 THEN %s::uuid ELSE gen_random_uuid() END, %s::uuid, %s::uuid, %s::uuid, %s::uuid,
       'chat', 'live', false, false, '{}', 0, at, at, at, 'free', 0, 0, 1, 1, 'reported',
       CASE WHEN n %% 400 = 0 THEN 502 ELSE 200 END, CASE WHEN n %% 400 = 0 THEN 'upstream_error' ELSE '' END, 10
  FROM (SELECT n, %s - n * interval '30 days' / 20000 AS at FROM generate_series(1, 20000) n) calls
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["", "error"])
def test_the_log_reads_the_days_it_shows_by_an_index(status):
    person, ai_model = make_person(), make_model(status="published")
    organization = Organization.objects.get(pk=person.personal_organization.pk)
    parties = [organization.pk, ai_model.publisher_id, ai_model.pk, ai_model.current_version_id, ai_model.price.pk]
    # A day that has just begun holds too few calls for an index to be worth it.
    noon = clock.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    with psycopg.connect(settings.DATABASE_OWNER_URL) as owner, owner.cursor() as cursor:
        cursor.execute("SELECT gateway_create_partitions(%s, 31)", [(noon - timedelta(days=30)).date()])
        cursor.execute(MANY, [*parties, noon])
        cursor.execute("ANALYZE gateway_invocation")
    period = Period(noon - timedelta(days=3), noon, ZoneInfo("UTC"))
    calls = listed(made(organization, period, Selection(status=status)))
    plan = calls.order_by("-id")[:PAGE_SIZE].explain()
    assert "Seq Scan on gateway_invocation" not in plan, plan
    assert "organization_id" in plan
    days = set(re.findall(r"gateway_invocation_(\d{8})", plan))
    assert len(days) == 4, plan
    page = page_of(calls, size=PAGE_SIZE)
    assert len(page.calls) == (PAGE_SIZE if status == "" else 5)
