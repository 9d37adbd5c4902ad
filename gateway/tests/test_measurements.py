"""What a model's calls come to: whose fault counts, which figures are shown, and that measuring twice is once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from common import clock
from common.ids import uuid7
from gateway import errors
from gateway.models import Rule
from gateway.services import measure_models
from gateway.tests.factories import make_call
from marketplace.models import MEASURED_DAYS, MIN_SAMPLES, UNMEASURED, AIModel, Measurement
from marketplace.services import Measured, Tally, Terms, apply_measurements, typical_cost
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db

PER_TOKEN = Terms(type="paid", input_nano_per_million=400_000_000, output_nano_per_million=1_200_000_000)


@pytest.fixture
def ai_model():
    return make_model(status="published", pricing=PER_TOKEN)


def set_clock(days_ago=0):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [f"{-days_ago} days"])


def make_calls(ai_model, number, *, days_ago=0, **ending):
    """So many calls of somebody at this hour of a day."""
    somebody = make_organization()
    set_clock(days_ago)
    for _ in range(number):
        id = uuid7()
        past = UUID(int=id.int - (days_ago * 86_400_000 << 80))
        make_call(ai_model, organization=somebody, id=past, **{"rule": Rule.USAGE_REPORTED, **ending})
    set_clock()


def fail(ai_model, number, problem, *, days_ago=0):
    make_calls(
        ai_model,
        number,
        days_ago=days_ago,
        rule=Rule.UPSTREAM_ERROR,
        error_code=problem.code,
        http_status=problem.status,
    )


def measured(ai_model):
    measure_models()
    return Measurement.objects.get(ai_model=ai_model)


def test_latency_tokens_and_throughput_are_those_of_answered_calls(ai_model):
    for number in range(100):
        make_calls(
            ai_model,
            1,
            is_streamed=True,
            latency_ms=1000 + 10 * number,
            first_token_ms=500,
            input_tokens=800 + number,
            output_tokens=300,
        )
    found = measured(ai_model)
    assert (found.requests, found.sample_size) == (100, 100)
    assert (found.latency_p50_ms, found.latency_p95_ms) == (1495, 1940)  # between 1490 and 1500; 5 of 100 are above
    assert (found.first_token_p50_ms, found.first_token_p95_ms) == (500, 500)
    assert found.tokens_per_second == Decimal("301.5")  # 300 tokens in the 995 ms after the first one
    assert (found.typical_input_tokens, found.typical_output_tokens) == (849, 300)
    assert found.uptime_bp == found.recent_uptime_bp == 10_000
    ai_model = AIModel.objects.detailed().get(pk=ai_model.pk)
    assert (ai_model.latency_order, ai_model.popularity) == (1495, 100)
    assert typical_cost(ai_model) == 849 * 400 + 300 * 1200, "at the price in force, whatever was paid then"


def test_failures_do_not_make_a_model_fast(ai_model):
    make_calls(ai_model, 60, latency_ms=900)
    make_calls(ai_model, 60, latency_ms=1, rule=Rule.UPSTREAM_ERROR, error_code="upstream_error", http_status=502)
    assert measured(ai_model).latency_p50_ms == 900


@pytest.mark.parametrize(
    ("problem", "is_the_publishers"),
    [
        (errors.UpstreamFailed, True),
        (errors.UpstreamTimeout, True),
        (errors.UpstreamBusy, True),
        (errors.UpstreamInvalidOutput, True),
        (errors.UpstreamRejected, False),  # the caller's input
        (errors.GatewayStopped, False),  # ours
        (errors.MoneyUnavailable, False),
    ],
)
def test_whose_fault_counts(ai_model, problem, is_the_publishers):
    make_calls(ai_model, 80)
    fail(ai_model, 20, problem)
    found = measured(ai_model)
    assert found.requests == 100
    assert found.sample_size == (100 if is_the_publishers else 80)
    assert found.uptime_bp == found.recent_uptime_bp == (8_000 if is_the_publishers else 10_000)
    assert found.days[-1] == ("bad" if is_the_publishers else "ok")


def test_uptime_is_rounded_down(ai_model):
    make_calls(ai_model, 299)
    fail(ai_model, 1, errors.UpstreamTimeout)
    assert measured(ai_model).uptime_bp == 9_966


def test_calls_under_way_say_nothing(ai_model):
    make_calls(ai_model, 60, is_settled=False)
    assert measure_models() == 0
    assert not Measurement.objects.exists()


def test_below_fifty_calls_there_is_no_figure(ai_model):
    make_calls(ai_model, MIN_SAMPLES - 1, is_streamed=True, first_token_ms=5, input_tokens=3, output_tokens=4)
    found = measured(ai_model)
    assert found.sample_size == MIN_SAMPLES - 1
    assert {getattr(found, name) for name in Measurement.FIGURES} == {None}
    assert found.days[-1] == "ok", "a day needs ten"
    ai_model.refresh_from_db()
    assert ai_model.latency_order == UNMEASURED
    make_calls(ai_model, 1)
    found = measured(ai_model)
    assert found.latency_p50_ms == 10
    assert found.first_token_p50_ms is None, "of streamed calls there are 49 still"
    assert found.tokens_per_second is None


def test_the_database_refuses_a_figure_of_few_calls(ai_model):
    values = {"requests": 49, "sample_size": 49, "days": ["none"] * MEASURED_DAYS, "measured_at": clock.now()}
    with pytest.raises(IntegrityError, match="measurement_rests_on_enough_calls"), transaction.atomic():
        Measurement.objects.create(ai_model=ai_model, uptime_bp=9_000, **values)
    with pytest.raises(IntegrityError, match="measurement_ninety_days"), transaction.atomic():
        Measurement.objects.create(ai_model=ai_model, **{**values, "days": ["none"]})


def test_figures_are_of_thirty_days_and_the_state_of_three(ai_model):
    make_calls(ai_model, 60, days_ago=10, latency_ms=100)
    fail(ai_model, 20, errors.UpstreamFailed, days_ago=10)
    make_calls(ai_model, 60, latency_ms=300)
    found = measured(ai_model)
    assert found.latency_p50_ms == 200
    assert found.uptime_bp == 8_571
    assert found.recent_uptime_bp == 10_000
    assert found.days[-1] == "ok"
    assert found.days[-11] == "bad"
    assert found.days.count("none") == MEASURED_DAYS - 2


def test_measuring_again_changes_nothing(ai_model):
    make_calls(ai_model, 60)
    before = measured(ai_model)
    after = measured(ai_model)
    assert after.id == before.id
    for name in ("requests", "sample_size", "days", *Measurement.FIGURES):
        assert getattr(after, name) == getattr(before, name)


def test_days_move_on_and_what_is_known_of_them_stays(ai_model):
    at = datetime(2026, 10, 31, 12, tzinfo=UTC)
    today = at.date()
    day = Tally(counted=100, answered=95)
    one = Measured(ai_model.id, requests=100, all=day, days={today: day})
    apply_measurements(measured=[one], at=at, days_from=today - timedelta(days=1))
    # Three days later nothing before the day before yesterday is read again, and nobody has called since.
    later = at + timedelta(days=3)
    apply_measurements(measured=[], at=later, days_from=later.date() - timedelta(days=1))
    found = Measurement.objects.get(ai_model=ai_model)
    assert found.days[-4] == "warn"
    assert found.days.count("none") == MEASURED_DAYS - 1
    assert (found.requests, found.uptime_bp) == (0, None)
    much_later = at + timedelta(days=MEASURED_DAYS + 5)
    apply_measurements(measured=[], at=much_later, days_from=much_later.date())
    found.refresh_from_db()
    assert set(found.days) == {"none"}


@pytest.mark.parametrize(
    ("counted", "answered", "state"),
    [
        (9, 9, "none"),
        (10, 10, "ok"),
        (100, 99, "ok"),
        (100, 98, "warn"),
        (20, 18, "warn"),
        (10, 9, "ok"),
        (100, 89, "bad"),
        (10, 0, "bad"),
    ],
)
def test_how_a_day_went(ai_model, counted, answered, state):
    at = clock.now()
    day = at.astimezone(UTC).date()
    one = Measured(ai_model.id, requests=counted, days={day: Tally(counted, answered)})
    apply_measurements(measured=[one], at=at, days_from=day)
    assert Measurement.objects.get().days[-1] == state


def test_a_model_that_is_no_longer_called_loses_its_figures(ai_model):
    make_calls(ai_model, 60)
    assert measured(ai_model).latency_p50_ms == 10
    set_clock(-40)
    found = measured(ai_model)
    ai_model.refresh_from_db()
    assert (found.sample_size, found.latency_p50_ms, ai_model.latency_order) == (0, None, UNMEASURED)
    assert ai_model.popularity == 0


def test_measuring_takes_the_same_queries_for_any_number_of_models(ai_model):
    def count():
        with CaptureQueriesContext(connection) as queries:
            measure_models()
        return len(queries)

    make_calls(ai_model, 2)
    few = count()
    for _ in range(5):
        make_calls(make_model(status="published"), 2)
    assert count() == few
