"""Usage figures: the right bucket in every time zone, the right organization, the same rows as CSV."""

import csv
import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from analytics.querysets import Period
from apikeys.tests.factories import make_key, make_person
from common.ids import first_uuid
from gateway.tests.factories import make_call
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return make_person()


@pytest.fixture
def ai_model(person):
    return make_model(status="published", pricing=Terms(type="paid", per_call_nano=1_000_000))


@pytest.fixture
def client(person):
    client = Client()
    client.force_login(person)
    return client


def call(ai_model, person, **values):
    return make_call(ai_model, organization=person.personal_organization, **values)


def test_totals_and_buckets_add_up(client, person, ai_model):
    call(ai_model, person, cost_nano=1_000_000, input_tokens=10, output_tokens=20)
    call(ai_model, person, http_status=502, error_code="upstream_error")
    call(ai_model, person, is_settled=False)
    body = client.get("/api/analytics/usage").json()
    assert body["totals"] == {
        "calls": 2,
        "errors": 1,
        "input_tokens": 10,
        "output_tokens": 20,
        "cost": {"amount": "0.001", "currency": "USD"},
    }
    assert sum(bucket["calls"] for bucket in body["buckets"]) == 2
    assert len(body["buckets"]) in (30, 31), "every day of the last 30 has a bucket, empty ones too"
    assert body["tz"] == "UTC"


def test_nobody_sees_the_usage_of_another_organization(client, ai_model):
    call(ai_model, make_person(), cost_nano=1_000_000)
    assert client.get("/api/analytics/usage").json()["totals"]["calls"] == 0


def test_groups_name_what_they_are(client, person, ai_model):
    key, _secret = make_key(user=person, name="batch")
    call(ai_model, person, api_key=key)
    call(ai_model, person)
    rows = client.get("/api/analytics/usage?group_by=model,key&granularity=total").json()["buckets"]
    assert {(row["model"], row["key"], row["calls"]) for row in rows} == {
        (f"{ai_model.publisher.slug}/{ai_model.slug}", "batch", 1),
        (f"{ai_model.publisher.slug}/{ai_model.slug}", None, 1),
    }
    assert {row["model_id"] for row in rows} == {ai_model.public_id}


def test_the_period_is_half_open_and_read_in_the_time_zone(client):
    body = client.get("/api/analytics/usage?from=2026-03-28&to=2026-03-31&tz=Europe/Berlin&granularity=day").json()
    assert body["from"] == "2026-03-28T00:00:00+01:00"
    assert [bucket["start"] for bucket in body["buckets"]] == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]


@pytest.mark.parametrize(
    ("zone", "start", "end", "granularity", "expected"),
    [
        ("Europe/Berlin", "2026-10-25T00:00", "2026-10-26T00:00", "hour", 25),
        ("Europe/Berlin", "2026-03-29T00:00", "2026-03-30T00:00", "hour", 23),
        ("Asia/Kolkata", "2026-01-01T00:00", "2026-01-02T00:00", "hour", 24),
        ("UTC", "2024-01-15T00:00", "2025-01-15T00:00", "month", 13),
        ("UTC", "2024-02-01T00:00", "2024-03-01T00:00", "day", 29),
    ],
)
def test_every_hour_day_and_month_has_one_bucket(zone, start, end, granularity, expected):
    tz = ZoneInfo(zone)
    first, last = (datetime.fromisoformat(text).replace(tzinfo=tz) for text in (start, end))
    starts = list(Period(first, last, tz, granularity).starts())
    assert len(starts) == expected
    assert len({at.astimezone(UTC) for at in starts}) == expected


def test_a_call_falls_into_the_day_of_the_reporting_time_zone(client, person, ai_model):
    at = datetime.now(UTC).replace(hour=20, minute=0, second=0, microsecond=0) - timedelta(days=3)
    made = call(ai_model, person, id=first_uuid(at))
    assert made.started_at - at > timedelta(days=2), "the bucket goes by when the call began"
    body = client.get("/api/analytics/usage?tz=Asia/Kolkata&granularity=hour&from=2020-01-01&to=2020-01-02").json()
    assert body["buckets"][0]["start"] == "2020-01-01T00:00:00+05:30"


def test_csv_is_the_same_rows(client, person, ai_model):
    call(ai_model, person, cost_nano=1_000_000)
    answer = client.get("/api/analytics/usage?group_by=model&granularity=total&format=csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["model"], row["calls"], row["cost"], row["currency"]) == (
        f"{ai_model.publisher.slug}/{ai_model.slug}",
        "1",
        "0.001",
        "USD",
    )
    same = client.get("/api/analytics/usage?group_by=model&granularity=total", HTTP_ACCEPT="text/csv")
    assert same.content.splitlines()[0] == answer.content.splitlines()[0]


def test_csv_cells_that_a_spreadsheet_would_execute_are_quoted(client, person, ai_model):
    key, _secret = make_key(user=person, name="=1+1")
    call(ai_model, person, api_key=key)
    answer = client.get("/api/analytics/usage?group_by=key&granularity=total&format=csv").content.decode()
    (row,) = csv.DictReader(io.StringIO(answer))
    assert row["key"] == "'=1+1"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("from=yesterday", "from"),
        ("from=2026-02-30", "from"),
        ("to=0001-01-01", "to"),
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=2026-01-01&to=2026-03-01&granularity=hour", "from"),
        ("tz=Mars/Olympus", "tz"),
        ("granularity=year", "granularity"),
        ("group_by=colour", "group_by/0"),
        ("format=xml", "format"),
        ("groupby=model", "groupby"),
    ],
)
def test_a_bad_parameter_is_400_and_named(client, query, name):
    answer = client.get(f"/api/analytics/usage?{query}")
    assert answer.status_code == 400, answer.content
    assert f"/{name}" in [error["pointer"] for error in answer.json()["errors"]]


def test_a_key_needs_the_permission(person):
    _key, secret = make_key(user=person, permissions=["models:invoke"])
    answer = Client().get("/api/analytics/usage", HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert answer.status_code == 403
    assert answer.json()["required_scope"] == "analytics:read"


def test_the_page_shows_what_the_calls_cost(client, person, ai_model):
    call(ai_model, person, cost_nano=1_000_000)
    for query in ("", "?range=24h&by=key", "?range=7d&by=status", "?range=nonsense&by=nonsense"):
        answer = client.get(f"/usage{query}")
        assert answer.status_code == 200
        assert "$0.001" in answer.content.decode()


def test_an_empty_page_says_what_to_do(client):
    assert "No requests in this period" in client.get("/usage").content.decode()


def test_the_page_is_for_people_who_signed_in():
    answer = Client().get("/usage")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")
