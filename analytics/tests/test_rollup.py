"""Calls summed up by the hour: the sums are those of the calls, repeating changes nothing, and nothing is missed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from random import Random

import pytest
from django.db import IntegrityError, connection, transaction

from analytics.models import ModelHour, RolledHour
from analytics.querysets import percentile
from analytics.services import roll_up
from analytics.tests.factories import clock_at, make_call_at
from common import clock
from gateway import errors
from gateway.models import Invocation, Rule
from gateway.services.calls import Settle, move
from gateway.services.measurements import PUBLISHER_FAULTS
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
CODES = ["", "", "", "", errors.UpstreamTimeout.code, errors.UpstreamFailed.code, errors.UpstreamRejected.code]


@pytest.fixture
def this_hour():
    return clock.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def make_history(this_hour: datetime, *, hours: int = 30, seed: int = 6) -> None:
    """Calls of three models at random in these hours, of every kind of ending."""
    random = Random(seed)
    models = [make_model(status="published") for _ in range(3)]
    somebody = make_organization()
    for _ in range(160):
        code = random.choice(CODES)
        streams = random.random() < 0.6
        latency = random.randint(1, 60_000)
        at = this_hour - random.randrange(hours) * HOUR + timedelta(seconds=random.randrange(1, 1700))
        make_call_at(
            min(at, clock.now() - timedelta(seconds=1)),
            random.choice(models),
            organization=somebody,
            is_settled=random.random() < 0.95,
            is_streamed=streams,
            rule=Rule.UPSTREAM_ERROR if code else Rule.USAGE_REPORTED,
            error_code=code,
            http_status=502 if code else 200,
            latency_ms=latency,
            first_token_ms=random.randint(1, latency) if streams else None,
            output_tokens=random.choice([0, 1, 250, 4000]),
        )


def hour_of(call: Invocation) -> datetime:
    at = datetime.fromtimestamp((call.pk.int >> 80) / 1000, UTC)
    return at.replace(minute=0, second=0, microsecond=0)


def raw() -> dict[tuple, tuple]:
    """What the roll-up must say, counted call by call."""
    found: dict[tuple, tuple] = {}
    for call in Invocation.objects.filter(state="final"):
        key = (call.ai_model_id, hour_of(call))
        requests, counted, answered, codes, latency, first, speeds = found.setdefault(
            key, (Counter(), Counter(), Counter(), Counter(), [], [], [])
        )
        requests["n"] += 1
        counted["n"] += call.error_code in ("", *PUBLISHER_FAULTS)
        if call.error_code:
            codes[call.error_code] += 1
            continue
        answered["n"] += 1
        latency.append(call.latency_ms)
        if call.first_token_ms is not None:
            first.append(call.first_token_ms)
            if call.output_tokens and call.latency_ms > call.first_token_ms:
                speeds.append(call.output_tokens * 10_000 / (call.latency_ms - call.first_token_ms))
    return found


def is_like(values: list[int], counts: list[int], exact: list[float]) -> bool:
    """The same calls, each at less than one percent from what it was."""
    rolled = [value for value, number in zip(values, counts, strict=True) for _ in range(number)]
    pairs = zip(rolled, sorted(exact), strict=True)
    return all(abs(one - other) <= max(other / 100, 0.5) for one, other in pairs)


def snapshot() -> list[tuple]:
    names = [field.attname for field in ModelHour._meta.concrete_fields if field.name != "id"]
    return sorted(map(repr, ModelHour.objects.values_list(*names)))


def test_the_hours_say_what_the_calls_say(this_hour):
    make_history(this_hour)
    assert roll_up() >= 30
    wanted = raw()
    rows = {(row.ai_model_id, row.start): row for row in ModelHour.objects.all()}
    assert rows.keys() == wanted.keys()
    for key, (requests, counted, answered, codes, latency, first, speeds) in wanted.items():
        row = rows[key]
        assert (row.requests, row.counted, row.answered) == (requests["n"], counted["n"], answered["n"])
        assert row.errors == codes
        assert is_like(row.latency_values, row.latency_counts, latency)
        assert is_like(row.first_token_values, row.first_token_counts, first)
        assert is_like(row.speed_values, row.speed_counts, speeds)
        for values in (row.latency_values, row.first_token_values, row.speed_values):
            assert all(one < other for one, other in pairwise(values))


def test_percentiles_of_a_day_are_those_of_its_calls(this_hour):
    make_history(this_hour, hours=20)
    roll_up()
    start, end = this_hour - 3 * timedelta(days=1), this_hour + HOUR
    for ai_model_id in {row.ai_model_id for row in ModelHour.objects.all()}:
        answered = Invocation.objects.filter(ai_model_id=ai_model_id, state="final", error_code="")
        exact = sorted(answered.values_list("latency_ms", flat=True))
        rows = ModelHour.objects.spread("latency", ai_model_id, start, end, "day")
        assert sum(number for _bucket, _value, number in rows) == len(exact)
        total = sorted((value, sum(n for _b, v, n in rows if v == value)) for value in {v for _b, v, _n in rows})
        for share in (0.5, 0.95, 0.99):
            wanted = exact[ceil(share * len(exact)) - 1]
            found = percentile(total, share)
            assert found is not None
            assert abs(found - wanted) <= wanted / 100


def test_repeating_changes_nothing(this_hour):
    make_history(this_hour)
    roll_up()
    before = snapshot()
    assert before
    roll_up()
    assert snapshot() == before
    roll_up(all_hours=True)
    assert snapshot() == before


def test_what_no_call_stands_for_any_more_is_taken_away(this_hour):
    make_history(this_hour, hours=3)
    roll_up()
    wanted = snapshot()
    ModelHour.objects.create(ai_model=make_model(), start=this_hour, requests=1, counted=1, answered=1)
    ids = set(ModelHour.objects.values_list("id", flat=True))
    roll_up()
    assert snapshot() == wanted
    assert set(ModelHour.objects.values_list("id", flat=True)) < ids, "the others are the same rows"


def test_only_what_may_change_is_read_again(this_hour):
    make_history(this_hour)
    roll_up()
    open_hours = set(RolledHour.objects.filter(is_complete=False).values_list("start", flat=True))
    under_way = {hour_of(call) for call in Invocation.objects.filter(state="started")}
    assert under_way, "the history has calls that have not ended"
    assert under_way <= open_hours
    assert this_hour in open_hours
    assert roll_up() == len(open_hours)


def test_a_call_that_ends_late_is_counted_in_the_hour_in_which_it_began(this_hour):
    ai_model = make_model(status="published")
    began = this_hour - 5 * HOUR + timedelta(minutes=20)
    call = make_call_at(began, ai_model, organization=make_organization(), is_settled=False)
    roll_up()
    assert not ModelHour.objects.exists()
    ending = {"rule": Rule.DEMO, "input_tokens": 0, "output_tokens": 0, "usage_source": "reported", "cost_nano": 0}
    outcome = {"http_status": 200, "error_code": "", "latency_ms": 18_000_000, "first_token_ms": None}
    move(settles=[Settle(id=call.pk, **ending, **outcome)])
    roll_up()
    row = ModelHour.objects.get()
    assert (row.start, row.requests) == (this_hour - 5 * HOUR, 1)
    assert RolledHour.objects.get(start=row.start).is_complete


def test_an_hour_is_complete_only_when_no_call_can_be_added(this_hour):
    make_call_at(this_hour - timedelta(minutes=10), make_model(status="published"), organization=make_organization())
    with clock_at(this_hour + timedelta(minutes=4)):
        roll_up()
        assert not RolledHour.objects.get(start=this_hour - HOUR).is_complete
    with clock_at(this_hour + timedelta(minutes=6)):
        roll_up()
        assert RolledHour.objects.get(start=this_hour - HOUR).is_complete
        assert not RolledHour.objects.get(start=this_hour).is_complete


def test_after_a_pause_it_catches_up_the_newest_hours_first(this_hour):
    ai_model, somebody = make_model(status="published"), make_organization()
    days = (1, 12, 20)
    for day in days:
        make_call_at(this_hour - timedelta(days=day, minutes=-3), ai_model, organization=somebody)
    assert roll_up() == 8 * 24
    assert [row.start for row in ModelHour.objects.all()] == [this_hour - timedelta(days=1)]
    while roll_up() > 24:
        pass
    assert {row.start for row in ModelHour.objects.all()} == {this_hour - timedelta(days=day) for day in days}


def test_calls_written_into_the_past_are_found_by_beginning_anew(this_hour):
    ai_model, somebody = make_model(status="published"), make_organization()
    make_call_at(this_hour - timedelta(days=2), ai_model, organization=somebody)
    roll_up()
    make_call_at(this_hour - timedelta(days=1), ai_model, organization=somebody)
    roll_up()
    assert ModelHour.objects.count() == 1, "its hour was complete"
    roll_up(all_hours=True)
    assert ModelHour.objects.count() == 2


def test_hours_of_long_ago_are_forgotten(this_hour):
    make_call_at(this_hour - timedelta(days=89), make_model(status="published"), organization=make_organization())
    roll_up(all_hours=True)
    assert ModelHour.objects.count() == 1
    with clock_at(this_hour + timedelta(days=3)):
        roll_up()
    assert not ModelHour.objects.exists()
    assert not RolledHour.objects.filter(start__lt=this_hour - timedelta(days=89)).exists()


def test_without_calls_there_is_nothing_to_do():
    assert roll_up() == 0
    assert not RolledHour.objects.exists()


def test_the_database_refuses_what_cannot_be(this_hour):
    figures = {"ai_model": make_model(), "start": this_hour, "requests": 2, "counted": 1, "answered": 1}
    with pytest.raises(IntegrityError, match="model_hour_parts_of_requests"), transaction.atomic():
        ModelHour.objects.create(**{**figures, "answered": 2})
    with pytest.raises(IntegrityError, match="model_hour_latency_pairs"), transaction.atomic():
        ModelHour.objects.create(**figures, latency_values=[1, 2], latency_counts=[1])
    ModelHour.objects.create(**figures)
    with pytest.raises(IntegrityError, match="model_hour_once"), transaction.atomic():
        ModelHour.objects.create(**figures)


def test_reading_a_month_of_one_model_uses_an_index(this_hour):
    ids = [make_model().pk for _ in range(20)]
    ModelHour.objects.bulk_create(
        ModelHour(ai_model_id=id, start=this_hour - number * HOUR, requests=1, counted=1, answered=1)
        for id in ids
        for number in range(300)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE analytics_modelhour")
    rows = ModelHour.objects.of_model(ids[0], this_hour - 24 * HOUR, this_hour + HOUR)
    assert "model_hour_once" in rows.explain()
