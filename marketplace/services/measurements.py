"""What calls have shown about models: told by the gateway, kept for the plate, the pages and the order by latency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from marketplace.models import MEASURED_DAYS, MIN_SAMPLES, UNMEASURED, AIModel, Measurement
from marketplace.services.forgetting import forget
from marketplace.services.pricing import cost_of

#: A day with fewer calls than this says nothing.
MIN_SAMPLES_OF_A_DAY = 10
OK_FROM_PERCENT, WARN_FROM_PERCENT = 99, 90  # and one failure alone marks no day
MAX_FIGURE = 2**31 - 1  # what a column holds

Day = Measurement.Day
Figures = Mapping[str, int | float | None]


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls that say something about the publisher: how many, and how many of them were answered."""

    counted: int
    answered: int


NO_CALLS = Tally(0, 0)


@dataclass(frozen=True, slots=True)
class Measured:
    """The calls of one model. Medians and the like are given as they are; whether they may be shown is decided here.

    requests, all, recent, days: of 30 days, of 30 days, of three, and of each day that was looked at. streamed,
    timed: how many of the answered calls have a first token, and how many brought more tokens after it. figures: by
    the name of the column, without those of uptime.
    """

    ai_model_id: UUID
    requests: int = 0
    all: Tally = NO_CALLS
    recent: Tally = NO_CALLS
    streamed: int = 0
    timed: int = 0
    figures: Figures = field(default_factory=dict)
    days: Mapping[date, Tally] = field(default_factory=dict)


ANSWERED_FIGURES = ("latency_p50_ms", "latency_p95_ms", "typical_input_tokens", "typical_output_tokens")
STREAMED_FIGURES = ("first_token_p50_ms", "first_token_p95_ms")
TIMED_FIGURES = ("tokens_per_second",)


@transaction.atomic
def apply_measurements(*, measured: Iterable[Measured], at: datetime, days_from: date) -> int:
    """Keep what was found out at `at`; a model that is not among them had no calls. Returns how many models have some.

    days_from: the days from then on were looked at; older ones stay as they were. Applying the same twice changes
    nothing.
    """
    found = {one.ai_model_id: one for one in measured}
    today = at.astimezone(UTC).date()
    old = {row.ai_model_id: row for row in Measurement.objects.select_for_update().order_by("ai_model_id")}
    rows = [
        _row(found.get(id) or Measured(id), old.get(id), at=at, today=today, days_from=days_from)
        for id in sorted(found.keys() | old.keys())
    ]
    names = [f.name for f in Measurement._meta.concrete_fields if f.name not in ("id", "ai_model")]
    Measurement.objects.bulk_create(rows, update_conflicts=True, unique_fields=["ai_model"], update_fields=names)
    own = Measurement.objects.filter(ai_model=OuterRef("pk"))
    AIModel.objects.filter(pk__in=[row.ai_model_id for row in rows]).annotate(
        measured_order=Coalesce(Subquery(own.values("latency_p50_ms")), UNMEASURED),
        measured_requests=Subquery(own.values("requests")),
    ).exclude(latency_order=F("measured_order"), popularity=F("measured_requests")).update(
        latency_order=F("measured_order"), popularity=F("measured_requests")
    )
    forget([row.ai_model_id for row in rows], lists=False)
    return len(found)


@transaction.atomic
def apply_demand(demand: Mapping[UUID, int]) -> int:
    """Keep how many organizations use each model, in thousandths; nobody uses one that is not among them.

    Returns how many changed.
    """
    changed = []
    rows = AIModel.objects.filter(Q(pk__in=demand) | Q(demand__gt=0)).select_for_update().order_by("pk")
    for row in rows.only("demand"):
        if row.demand != (now := demand.get(row.pk, 0)):
            row.demand = now
            changed.append(row)
    AIModel.objects.bulk_update(changed, ["demand"], batch_size=1_000)
    return len(changed)


def days_known_until() -> date | None:
    """The last day (UTC) that was looked at; None if none ever was."""
    at = Measurement.objects.order_by("-measured_at").values_list("measured_at", flat=True).first()
    return None if at is None else at.astimezone(UTC).date()


def typical_cost(ai_model: AIModel) -> int | None:
    """What a call of the usual size costs at the price in force, in nano-units; None as long as no size is usual.

    Of a subscription, what a call costs beside it.
    """
    price, measured = ai_model.price, ai_model.measured
    if price is None:
        return None
    if price.input_nano_per_million is None and price.output_nano_per_million is None:
        return price.per_call_nano or 0
    if measured is None or measured.typical_input_tokens is None or measured.typical_output_tokens is None:
        return None
    return cost_of(price, input_tokens=measured.typical_input_tokens, output_tokens=measured.typical_output_tokens)


def _row(one: Measured, old: Measurement | None, *, at: datetime, today: date, days_from: date) -> Measurement:
    row = Measurement(
        ai_model_id=one.ai_model_id,
        requests=min(one.requests, MAX_FIGURE),
        sample_size=min(one.all.counted, MAX_FIGURE),
        uptime_bp=_basis_points(one.all),
        recent_uptime_bp=_basis_points(one.recent),
        days=_days(one, old, today=today, days_from=days_from),
        measured_at=at,
    )
    for names, samples in (
        (ANSWERED_FIGURES, one.all.answered),
        (STREAMED_FIGURES, one.streamed),
        (TIMED_FIGURES, one.timed),
    ):
        for name in names:
            figure = one.figures.get(name) if samples >= MIN_SAMPLES else None
            setattr(row, name, None if figure is None else _rounded(name, figure))
    return row


def _rounded(name: str, figure: float) -> int | Decimal:
    if name == "tokens_per_second":
        return min(round(Decimal(figure), 1), Decimal(10**8 - 1))
    return min(round(figure), MAX_FIGURE)


def _basis_points(tally: Tally) -> int | None:
    """Rounded down: one failure in a million is not "100%"."""
    return tally.answered * 10_000 // tally.counted if tally.counted >= MIN_SAMPLES else None


def _days(one: Measured, old: Measurement | None, *, today: date, days_from: date) -> list[str]:
    known: Sequence[str] = old.days if old else [Day.NONE] * MEASURED_DAYS
    last_known = old.measured_at.astimezone(UTC).date() if old else today
    first = today - timedelta(days=MEASURED_DAYS - 1)
    days = []
    for number in range(MEASURED_DAYS):
        day = first + timedelta(days=number)
        place = MEASURED_DAYS - 1 - (last_known - day).days
        if day >= days_from:
            days.append(state_of(one.days.get(day, NO_CALLS)).value)
        else:
            days.append(known[place] if 0 <= place < MEASURED_DAYS else Day.NONE.value)
    return days


def state_of(tally: Tally) -> Measurement.Day:
    """How a day with these calls went."""
    if tally.counted < MIN_SAMPLES_OF_A_DAY:
        return Day.NONE
    percent = tally.answered * 100 / tally.counted
    if percent >= OK_FROM_PERCENT or tally.counted - tally.answered == 1:
        return Day.OK
    return Day.WARN if percent >= WARN_FROM_PERCENT else Day.BAD
