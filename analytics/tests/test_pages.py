"""The usage page: the same figures as the receipts, the limits that count, and ways to the calls behind them."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from accounts.services import set_spend_limit
from analytics.forms import read_span
from analytics.tests.factories import cells, clock_at, make_call_at, tiles, words
from apikeys.tests.factories import make_key, make_person
from common.ids import first_uuid
from gateway.tests.factories import make_call
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db

PER_TOKEN = Terms(type="paid", input_nano_per_million=400_000_000, output_nano_per_million=1_200_000_000)
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


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


def hrefs(answer, path):
    found = re.findall(rf'href="({path}[^"]*)"', answer.content.decode())
    return [link.replace("&amp;", "&") for link in found]


def test_the_tiles_the_table_and_the_receipts_say_the_same(client, organization, ai_model):
    other = make_model(status="published", pricing=PER_TOKEN, name="Other")
    for n in range(1, 5):
        make_call(
            ai_model if n % 2 else other,
            organization=organization,
            cost_nano=n * 10**8,
            input_tokens=n * 10,
            output_tokens=n,
        )
    make_call(ai_model, organization=organization, http_status=502, error_code="upstream_error")
    make_call(ai_model, organization=organization, is_settled=False)
    answer = client.get("/usage")
    assert tiles(answer) == ["$1.00", "5", "110", "20.00%"]
    rows = {row[0]: row[1:] for row in cells(answer)}
    assert rows == {
        f"{other.publisher.slug}/other": ["2", "60", "6", "too few", "0.00%", "$0.60"],
        f"{ai_model.publisher.slug}/sentiment": ["3", "40", "4", "too few", "33.33%", "$0.40"],
    }
    receipts = client.get("/api/requests").json()["data"]
    assert sum(float(one["cost"]["amount"]) for one in receipts) == pytest.approx(1.0)


def test_every_number_opens_the_calls_behind_it(client, organization, ai_model):
    key, _secret = make_key(organization=organization, user=organization.personal_owner, name="batch")
    make_call(ai_model, organization=organization, api_key=key)
    make_call(ai_model, organization=organization, api_key=key, http_status=504, error_code="upstream_timeout")
    make_call(ai_model, organization=organization)
    for group, expected in (("model", 3), ("key", 2), ("status", 1)):
        page = client.get(f"/usage?range=7d&by={group}")
        row = next(r for r in cells(page) if int(r[1]) == expected)
        link = next(
            href
            for href in hrefs(page, "/requests")
            if group in parse_qs(urlsplit(href).query) and len(cells(client.get(href))) == expected
        )
        assert "range=7d" in link
        assert row[0]
    errors = next(href for href in hrefs(client.get("/usage?range=7d"), "/requests") if "status=error" in href)
    assert len(cells(client.get(errors))) == 1


def test_somebody_else_sees_nothing(client, ai_model):
    make_call(ai_model, organization=make_person().personal_organization, cost_nano=10**9)
    page = client.get("/usage")
    assert tiles(page) == ["$0.00", "0", "0", "–"]
    assert "No requests in this period" in words(page)


def test_filters_narrow_everything_and_keep_the_rest(client, organization, ai_model):
    key, _secret = make_key(organization=organization, user=organization.personal_owner, name="batch")
    other = make_model(status="published", pricing=PER_TOKEN, name="Other")
    make_call(ai_model, organization=organization, api_key=key, cost_nano=10**9)
    make_call(other, organization=organization, cost_nano=3 * 10**9)
    start = "/usage?range=7d&metric=tokens&by=status&sort=name"
    links = hrefs(client.get(start), "/usage")
    by_key = next(link for link in links if key.public_id in link)
    by_model = next(link for link in links if other.public_id in link)
    assert all(part in by_key for part in ("range=7d", "metric=tokens", "by=status", "sort=name"))
    assert tiles(client.get(by_key))[:2] == ["$1.00", "1"]
    assert tiles(client.get(by_model))[:2] == ["$3.00", "1"]
    assert tiles(client.get("/usage?key=playground"))[:2] == ["$3.00", "1"]
    narrowed = client.get(f"/usage?key={key.public_id}&model={other.public_id}")
    assert "No requests of this choice" in words(narrowed)
    assert "/usage" in hrefs(narrowed, "/usage")


def test_a_foreign_key_is_not_named(client, organization, ai_model):
    stranger, _secret = make_key(name="their secret project")
    make_call(ai_model, organization=organization)
    page = client.get(f"/usage?key={stranger.public_id}")
    assert "their secret project" not in words(page)
    assert tiles(page)[1] == "0"


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], "the same as in the 7 days before"),
        ([1, 1], [1, 1, 1], "+50% against the 7 days before"),
        ([1, 1, 1, 1], [1, 1, 1], "−25% against the 7 days before"),
        ([1], [1, 1, 1, 1], "4.0 times that of the 7 days before"),
        ([], [1], "none in the 7 days before"),
    ],
)
def test_the_comparison_is_with_as_many_days_before(client, organization, ai_model, before, now, said):
    for days, costs in ((8, before), (1, now)):
        for cost in costs:
            make_call_at(NOON - timedelta(days=days), ai_model, organization=organization, cost_nano=cost)
    # Within the span's days, but later in the day than now is: not comparable.
    make_call_at(NOON - timedelta(days=7) + timedelta(hours=3), ai_model, organization=organization, cost_nano=7)
    with clock_at(NOON):
        page = words(client.get("/usage?range=7d"))
    assert page.count(said) >= 2, "of requests and of spend"


def test_without_credit_it_says_what_follows(client, settings):
    settings.WELCOME_CREDIT = "0"
    assert "$0.00 of $0.00 credit, requests that cost are refused" in words(client.get("/usage"))


def test_errors_are_compared_in_points(client, organization, ai_model):
    for days, statuses in ((8, [200, 200, 200, 502]), (1, [200, 502])):
        for status in statuses:
            make_call_at(NOON - timedelta(days=days), ai_model, organization=organization, http_status=status)
    with clock_at(NOON):
        assert "+25.00 points against the 7 days before" in words(client.get("/usage?range=7d"))


def test_the_limit_is_the_tightest_one_that_is_enforced(client, organization, settings):
    settings.WELCOME_CREDIT = "5"
    key, _secret = make_key(organization=organization, user=organization.personal_owner, name="batch")
    client.get("/usage")  # which opens the credit of $5
    set_spend_limit(subject_kind="organization", subject_id=organization.pk, limit_nano=50 * 10**9, time_zone="UTC")
    page = words(client.get("/usage"))
    assert "$0.00 of $5.00 credit, 0% used" in page
    assert "$0.00 of $50.00 spend limit this month" in page
    assert page.index("of $5.00 credit") < page.index("of $50.00"), "the one with the least left first"
    set_spend_limit(subject_kind="key", subject_id=key.pk, limit_nano=10**9, window="day", time_zone="Asia/Kolkata")
    assert "limit of the key" not in words(client.get("/usage")), "which binds that key alone"
    narrowed = words(client.get(f"/usage?key={key.public_id}"))
    assert "$0.00 of $1.00 limit of the key “batch” today, 0% used, resets" in narrowed
    assert narrowed.index("of $1.00") < narrowed.index("of $5.00")


def test_several_days_of_ones_own(client, organization, ai_model):
    day = NOON - timedelta(days=3)
    for at in (day.replace(hour=0), day.replace(hour=23, minute=59), day + timedelta(days=1)):
        make_call_at(at, ai_model, organization=organization)
    with clock_at(NOON):
        page = client.get(f"/usage?from={day:%Y-%m-%d}&to={day:%Y-%m-%d}&by=key")
        assert tiles(page)[1] == "2"
        assert "15 Nov 2026" in words(page)
        assert 'value="2026-11-15"' in page.content.decode(), "in the fields"
        kept = [link for link in hrefs(page, "/usage") if "metric=tokens" in link]
        assert "from=2026-11-15&to=2026-11-15" in kept[0]
        assert all("from=" not in link for link in hrefs(page, "/usage") if "range=7d" in link)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=2026-11-10&to=2026-11-09", "The last day is before the first."),
        ("from=2025-11-01&to=2026-11-10", "At most 366 days at a time."),
        ("from=1999-01-01&to=1999-01-02", "Choose a day between 1 Jan 2000 and today."),
        ("from=2026-12-01&to=2026-12-02", "Choose a day between 1 Jan 2000 and today."),
        ("from=yesterday", "Enter a valid date."),
        ("to=0001-01-01", "Choose a day between 1 Jan 2000 and today."),
        ("to=9999-12-31", "Choose a day between 1 Jan 2000 and today."),
    ],
)
@pytest.mark.parametrize("path", ["/usage", "/requests"])
def test_dates_that_cannot_be_are_said_so(client, path, query, said):
    with clock_at(NOON):
        answer = client.get(f"{path}?{query}")
        assert client.get(f"{path}?{query}&csv=table").status_code == 422, "no file of another period"
    assert answer.status_code == 422
    assert said in words(answer)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"])
def test_days_begin_at_midnight_in_zones_with_half_hours(client, organization, ai_model, zone):
    Organization.objects.filter(pk=organization.pk).update(time_zone=zone)
    midnight = datetime(2026, 11, 17, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    make_call_at(midnight - timedelta(seconds=30), ai_model, organization=organization, input_tokens=3)
    make_call_at(midnight + timedelta(seconds=1), ai_model, organization=organization, input_tokens=4)
    with clock_at(NOON):
        page = client.get("/usage?from=2026-11-16&to=2026-11-17&metric=tokens")
        rows = list(csv.DictReader(io.StringIO(client.get("/usage?range=7d&csv=chart").content.decode())))
        before = client.get("/usage?from=2026-11-16&to=2026-11-16")
    assert tiles(page)[1] == "2"
    assert zone in words(page)
    assert [row["start"][:19] for row in rows] == ["2026-11-16T00:00:00", "2026-11-17T00:00:00"]
    assert tiles(before)[2] == "3", "an hour's bucket too"
    log = words(client.get("/requests?from=2026-11-17&to=2026-11-17"))
    assert "17 Nov 2026, 00:00:01" in log
    assert "16 Nov 2026" not in log


def test_the_hour_that_a_clock_change_repeats_is_two(client, organization, ai_model):
    for hour in (0, 1):
        make_call_at(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), ai_model, organization=organization)
    query = "from=2026-10-25&to=2026-10-26&granularity=hour&tz=Europe/Berlin"
    for group in ("", "&group_by=model"):
        body = client.get(f"/api/analytics/usage?{query}{group}").json()
        assert [(one["start"], one["calls"]) for one in body["buckets"] if one["calls"]] == [
            ("2026-10-25T02:00:00+02:00", 1),
            ("2026-10-25T02:00:00+01:00", 1),
        ]


def test_a_call_that_began_a_moment_after_its_id_was_made_is_not_lost(client, organization, ai_model):
    end = datetime(2026, 11, 17, tzinfo=UTC)
    begun, id = end + timedelta(milliseconds=5), first_uuid(end - timedelta(milliseconds=1))
    make_call_at(begun, ai_model, organization=organization, id=id)
    body = client.get("/api/analytics/usage?from=2026-11-16&to=2026-11-17").json()
    assert sum(one["calls"] for one in body["buckets"]) == body["totals"]["calls"] == 1


@pytest.mark.parametrize("group", ["model", "key", "status"])
def test_the_csv_has_the_rows_of_the_table(client, organization, ai_model, group):
    other = make_model(status="published", pricing=PER_TOKEN, name="Other")
    key, _secret = make_key(organization=organization, user=organization.personal_owner, name="=1+1")
    make_call(ai_model, organization=organization, cost_nano=10**9, input_tokens=5)
    make_call(other, organization=organization, api_key=key, cost_nano=2 * 10**9, output_tokens=6)
    make_call(other, organization=organization, http_status=502, error_code="upstream_error")
    for sort in ("cost", "-cost", "name", "-calls"):
        page = client.get(f"/usage?by={group}&sort={sort}")
        link = next(href for href in hrefs(page, "/usage") if "csv=table" in href)
        rows = list(csv.DictReader(io.StringIO(client.get(link).content.decode())))
        shown = cells(page)
        assert [row["calls"] for row in rows] == [row[1] for row in shown]
        assert [float(row["cost"]) for row in rows] == [float(row[6].removeprefix("$")) for row in shown]
    assert all(not str(value).startswith("=") for row in rows for value in row.values())


def test_the_table_sorts_by_links(client, organization, ai_model):
    other = make_model(status="published", pricing=PER_TOKEN, name="Other")
    for model, cost, status in ((ai_model, 5, 200), (ai_model, 5, 502), (other, 100, 200)):
        make_call(model, organization=organization, cost_nano=cost, http_status=status)

    def names(query):
        return [row[0].rpartition("/")[2] for row in cells(client.get(f"/usage{query}"))]

    assert names("") == names("?sort=nonsense") == ["other", "sentiment"]
    assert names("?sort=-calls") == names("?sort=-errors") == ["sentiment", "other"]
    html = client.get("/usage?sort=-calls").content.decode()
    assert html.count("aria-sort") == 1
    assert re.search(r'<th[^>]*aria-sort="descending"><a href="[^"]*sort=calls#table">Requests', html)


def test_latency_is_said_of_enough_requests_only(client, organization, ai_model):
    for n in range(49):
        make_call(ai_model, organization=organization, latency_ms=100 + n)
    make_call(ai_model, organization=organization, latency_ms=1, http_status=502, error_code="upstream_error")
    page = client.get("/usage?metric=latency")
    assert "Not enough requests in this period to measure." in words(page)
    assert cells(page)[0][4] == "too few"
    make_call(ai_model, organization=organization, latency_ms=149)
    page = client.get("/usage?metric=latency")
    assert "p50 between 124 and 124 ms, p95 between 147 and 147 ms" in page.content.decode()
    assert cells(page)[0][4] == "124 ms"
    (row,) = csv.DictReader(io.StringIO(client.get("/usage?metric=latency&csv=chart").content.decode()))
    assert (row["answered"], row["p50_ms"], row["p95_ms"]) == ("50", "124", "147")


@pytest.mark.parametrize("metric", ["spend", "tokens", "requests"])
def test_the_chart_adds_up_to_the_tile(client, organization, metric):
    for n in range(7):
        model = make_model(status="published", pricing=PER_TOKEN, name=f"Model {n}")
        make_call(model, organization=organization, cost_nano=(n + 1) * 10**9, input_tokens=n + 1)
    page = client.get(f"/usage?metric={metric}")
    assert "Other models" in page.content.decode(), "five and the rest"
    rows = list(csv.DictReader(io.StringIO(client.get(f"/usage?metric={metric}&csv=chart").content.decode())))
    assert len(rows) == 7
    assert sum(float(row["cost"]) for row in rows) == 28
    assert tiles(page)[:3] == ["$28.00", "7", "28"]


@pytest.mark.parametrize("query", ["", "?by=key&metric=latency", "?by=status&range=24h"])
def test_as_many_queries_for_three_rows_as_for_thirty(client, organization, query):
    def count():
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert client.get(f"/usage{query}").status_code == 200
        return len(found)

    def add(number):
        for _ in range(number):
            key, _secret = make_key(organization=organization, user=organization.personal_owner)
            model = make_model(status="published", pricing=PER_TOKEN)
            make_call(model, organization=organization, api_key=key)

    add(3)
    count()  # the first of a process asks for more
    few = count()
    add(27)
    assert count() == few


def test_members_see_the_calls_of_their_organization(organization, ai_model):
    member = make_person(organization=organization, role="member")
    make_call(ai_model, organization=organization, cost_nano=10**9)
    client = Client()
    client.force_login(member)
    answer = client.get("/usage", headers={"Agorai-Organization": organization.public_id})
    assert tiles(answer)[0] == "$1.00"


def test_a_period_and_the_one_before_it_touch():
    zone = ZoneInfo("Europe/Berlin")
    for name in ("24h", "7d", "30d"):
        span, _form = read_span({"range": name}, now=NOON + timedelta(minutes=1), zone=zone)
        assert span.period.end - span.period.start <= timedelta(days=span.days, hours=1)
        assert len(list(span.period.starts())) == {"24h": 24, "7d": 7, "30d": 30}[name]
        length, before = (one.end.timestamp() - one.start.timestamp() for one in (span.period, span.before))
        assert abs(length - before) in (0, 3600), "the same but for a change of the clock"
    span, _form = read_span({"from": "2026-10-25", "to": "2026-10-25"}, now=NOON, zone=zone)
    assert len(list(span.period.starts())) == 25, "the clock went back"
    assert span.before.end == span.period.start
