"""The Stats of a model: figures of the hours that were summed up, for everybody, and none that rests on few calls."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from analytics.models import ModelHour
from analytics.services import roll_up
from analytics.tests.factories import make_call_at, words
from analytics.views.stats import charts_of, stats_of
from common import clock
from gateway.models import Rule
from gateway.services import measure_models
from marketplace.models import MIN_SAMPLES, AIModel
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def ai_model():
    return make_model(status="published", name="Weather", publisher=make_organization(slug="north"))


@pytest.fixture
def page(ai_model, client: Client):
    def read(query: str = "", suffix: str = ""):
        roll_up(all_hours=True)
        answer = client.get(f"/models/north/{ai_model.slug}/stats{suffix}{query}")
        assert answer.status_code == 200
        return answer

    return read


def make_calls(ai_model, number, *, hours_ago=0, **ending):
    at = clock.now() - timedelta(hours=hours_ago, seconds=30)
    somebody = make_organization()
    for _ in range(number):
        make_call_at(at, ai_model, organization=somebody, **{"rule": Rule.USAGE_REPORTED, **ending})


def fail(ai_model, number, code="upstream_timeout", *, hours_ago=0):
    make_calls(ai_model, number, hours_ago=hours_ago, rule=Rule.UPSTREAM_ERROR, error_code=code, http_status=504)


def test_before_the_first_call_it_says_what_will_be_there(page):
    assert "No requests yet" in words(page())


def test_percentiles_stand_beside_how_many_requests_they_rest_on(ai_model, page):
    make_calls(ai_model, 60, is_streamed=True, latency_ms=1000, first_token_ms=100, output_tokens=90)
    make_calls(ai_model, 4, latency_ms=6000)
    text = words(page())
    assert "First token 100 ms 100 ms 100 ms 60" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Whole answer 1.00 s 5.98 s 5.98 s 64" in text.replace("\N{NO-BREAK SPACE}", " "), "to one percent"
    assert "Throughput p50 100.4 tok/s of 60 streamed requests" in text
    assert "Answered 100% of 64 requests that count" in text


def test_below_fifty_requests_there_is_no_figure(ai_model, page):
    make_calls(ai_model, MIN_SAMPLES - 1, is_streamed=True, latency_ms=1234, first_token_ms=432, output_tokens=80)
    answer = page()
    text = words(answer)
    assert "Requests 49" in text, "how many there were is told"
    assert "First token not enough requests – – 49" in text
    assert "Answered – not enough requests" in text
    for figure in ("1.24", "434", "100%"):
        assert figure not in text
    assert [one["title"] for one in answer.context["charts"]] == ["Requests"]
    assert "there are no curves of latency by day" in text
    make_calls(ai_model, 1, is_streamed=True, latency_ms=1234, first_token_ms=432, output_tokens=80)
    assert "1.24" in words(page())


def test_an_hour_with_few_requests_is_a_gap_though_the_period_has_enough(ai_model):
    make_calls(ai_model, 60, hours_ago=3, latency_ms=100)
    make_calls(ai_model, 3, hours_ago=6, latency_ms=9000)
    roll_up()
    stats = stats_of(ai_model, {"range": "24h"}, clock.now())
    charts = {one["title"]: dict(one["series"]) for one in charts_of(stats)}
    assert list(charts) == ["Whole answer", "Requests"]
    p50 = charts["Whole answer"]["p50"]
    assert [value for value in p50 if value is not None] == [100]
    assert stats.latency.whole["p99"] is not None
    requests = charts["Requests"]["Requests"]
    assert [number for number in requests if number] == [3, 60]


def test_errors_are_told_by_class_and_whose_they_are(ai_model, page):
    make_calls(ai_model, 80)
    fail(ai_model, 12)
    fail(ai_model, 5, "upstream_rejected")
    fail(ai_model, 2, "client_left")
    fail(ai_model, 1, "gateway_stopped")
    text = words(page())
    assert "It took too long 12 12.00%" in text
    assert "It rejected the input 5 5.00%" in text
    assert "this site stopped the call 3 3.00%" in text
    assert "Answered 86.95% of 92 requests that count" in text, "rounded down"
    assert "Errors 20.00%" in text


def test_days_on_which_failures_stood_out_are_listed(ai_model, page):
    day = 24
    make_calls(ai_model, 100, hours_ago=5 * day)
    make_calls(ai_model, 50, hours_ago=10 * day)
    fail(ai_model, 50, hours_ago=10 * day)
    answer = page()
    then = (clock.now() - timedelta(days=10, seconds=30)).astimezone(UTC).date()
    assert "50 of 100 requests were not answered" in words(answer)
    assert f"{then.day} {then:%b %Y}" in words(answer)
    days = answer.context["stats"].days
    assert (len(days), days[-11], days[-6]) == (90, "bad", "ok")
    measure_models()
    assert list(AIModel.objects.detailed().get(pk=ai_model.pk).measured.days) == days, "as on the first tab"


def test_days_with_few_requests_are_not_called_good(ai_model, page):
    make_calls(ai_model, 3)
    assert "No day had enough requests to be told." in words(page())
    make_calls(ai_model, 20, hours_ago=24)
    assert "Failures stood out on no day." in words(page())


@pytest.mark.parametrize(("query", "buckets"), [("?range=24h", 24), ("?range=7d", 7), ("", 30), ("?range=never", 30)])
def test_the_period_is_cut_into_hours_or_days(ai_model, page, query, buckets):
    make_calls(ai_model, 3)
    assert {len(one["labels"]) for one in page(query).context["charts"]} == {buckets}


def test_what_is_outside_the_period_is_outside_the_figures(ai_model, page):
    make_calls(ai_model, 7, hours_ago=40)
    make_calls(ai_model, 2)
    assert page("?range=24h").context["stats"].requests == 2
    assert page("?range=7d").context["stats"].requests == 9


def test_other_models_are_other_models(ai_model, page):
    make_calls(make_model(status="published"), 60)
    assert "No requests yet" in words(page())


def test_markdown_has_every_bucket_with_its_requests(ai_model, page):
    make_calls(ai_model, 60, is_streamed=True, latency_ms=1000, first_token_ms=100, output_tokens=90)
    fail(ai_model, 6)
    answer = page("?range=7d", ".md")
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    text = answer.content.decode().replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("# Weather: Stats\n\n`north/")
    assert "| First token | 100 ms | 100 ms | 100 ms | 60 |" in text
    assert "| It took too long | 6 |" in text
    assert f"| {clock.now().astimezone(UTC):%Y-%m-%d} 00:00 | 66 | 100 ms | 100 ms | 100 ms | 1.00 s |" in text
    assert "<" not in text


def test_a_draft_is_its_publishers_alone(client: Client):
    draft = make_model()
    for suffix in ("", ".md"):
        assert client.get(f"/models/{draft.publisher.slug}/{draft.slug}/stats{suffix}").status_code == 404


def test_a_busy_model_takes_no_more_queries_than_a_quiet_one(ai_model, page, client: Client):
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/models/north/{ai_model.slug}/stats")
        return len(queries)

    make_calls(ai_model, 1)
    page()
    few = count()
    for hours_ago in range(1, 40, 4):
        make_calls(ai_model, 2, hours_ago=hours_ago)
    page()
    assert ModelHour.objects.count() > 8
    assert count() == few
