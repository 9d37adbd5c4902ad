"""Figures over calls: sums by time and by what the calls have in common. Nothing here writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib.postgres.aggregates import BoolOr
from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import Aggregate, CharField, Count, DateTimeField, F, Func, IntegerField, Q, QuerySet, Sum, Value
from django.db.models.functions import Concat, Greatest, TruncDay

from accounts.models import Organization
from gateway.models import Invocation
from marketplace.models import MIN_SAMPLES

GRANULARITIES = ("hour", "day", "month", "total")

#: Dimension -> the columns that stand for it in a bucket.
DIMENSIONS: dict[str, dict[str, Any]] = {
    "model": {
        "model_id": F("ai_model_id"),
        "model": Concat("publisher__slug", Value("/"), "ai_model__slug", output_field=CharField()),
    },
    "key": {"key_id": F("api_key_id"), "key": F("api_key__name")},
    "version": {"model_id": F("ai_model_id"), "version_number": F("version__version")},
    "status": {"status": F("http_status")},
    "kind": {"call_kind": F("kind")},
}

FIGURES = {
    "calls": Count("id"),
    "errors": Count("id", filter=Q(http_status__gte=400)),
    "input_tokens": Sum("input_tokens", default=0),
    "output_tokens": Sum("output_tokens", default=0),
    "cost_nano": Sum("cost_nano", default=0),
}

#: What stands for calls of the playground, which are made without a key.
PLAYGROUND = "playground"
OK, ERROR, RUNNING = "ok", "error", "running"
ANSWERED = Q(http_status__lt=400)


class Figures(TypedDict):
    """What one bucket adds up to; the cost in nano-units."""

    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_nano: int


NOTHING: Figures = {"calls": 0, "errors": 0, "input_tokens": 0, "output_tokens": 0, "cost_nano": 0}


class Percentile(Aggregate):
    """The value that this share of the values does not exceed."""

    function = "percentile_disc"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = IntegerField()

    def __init__(self, expression: str, share: float, **extra: Any) -> None:
        super().__init__(expression, share=share, **extra)


#: How long answered calls took. A failure that comes at once makes no model fast.
LATENCY = {
    "samples": Count("latency_ms", filter=ANSWERED),
    "p50": Percentile("latency_ms", 0.5, filter=ANSWERED),
    "p95": Percentile("latency_ms", 0.95, filter=ANSWERED),
}


@dataclass(frozen=True, slots=True)
class Period:
    """`[start, end)` in the reporting time zone, cut into hours, days, months or not at all."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    granularity: str = "day"

    def starts(self) -> Iterator[datetime]:
        """The start of every bucket: the first is `start` itself, the others lie on the clock of the zone."""
        at = self.start.astimezone(self.zone)
        while at.astimezone(UTC) < self.end:
            yield at
            if self.granularity == "total":
                return
            at = next_boundary(at, self.granularity)

    def whole(self) -> Period:
        return replace(self, granularity="total")


def bucket(starts: Sequence[datetime]) -> Any:
    """The number of a call's bucket, in SQL: that of the last of `starts` at or before its beginning, from 1.

    A call's id is a moment older than its beginning: what began just outside counts to the bucket beside it.
    """
    # By the starts themselves: truncating each instant in a time zone takes far longer, and would have to agree.
    edges = Value([start.astimezone(UTC) for start in starts], ArrayField(DateTimeField()))
    return Greatest(Func(F("started_at"), edges, function="width_bucket", output_field=IntegerField()), 1)


def next_boundary(at: datetime, granularity: str) -> datetime:
    """The next full hour, midnight or first of a month after `at`, in its own time zone."""
    zone = at.tzinfo
    if granularity == "hour":
        # In UTC, so that the hour that a clock change repeats or leaves out is right too.
        offset = timedelta(minutes=at.minute, seconds=at.second, microseconds=at.microsecond)
        return (at.astimezone(UTC) - offset + timedelta(hours=1)).astimezone(zone)
    day = at.date() + timedelta(days=1)
    if granularity == "month":
        day = date(at.year + at.month // 12, at.month % 12 + 1, 1)
    return datetime.combine(day, time.min, tzinfo=zone)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of an organization's calls are meant; what is left out may be anything.

    key: an id, or `PLAYGROUND`. status: `OK`, `ERROR`, `RUNNING`, an HTTP status or the code of an error.
    """

    model: UUID | None = None
    key: UUID | str | None = None
    status: str = ""

    def of(self, calls: Any) -> Any:
        if self.model is not None:
            calls = calls.filter(ai_model_id=self.model)
        if self.key is not None:
            calls = calls.filter(api_key_id=None if self.key == PLAYGROUND else self.key)
        return calls.filter(self._status()) if self.status else calls

    def _status(self) -> Q:
        match self.status:
            case "ok":
                return ANSWERED
            case "error":
                return Q(http_status__gte=400)
            case "running":
                return Q(state=Invocation.State.STARTED)
        return Q(http_status=int(self.status)) if re.fullmatch("[0-9]{3}", self.status) else Q(error_code=self.status)


EVERYTHING = Selection()


def made(organization: Organization, period: Period, selection: Selection = EVERYTHING) -> Any:
    """The organization's calls that began in the period, those under way too."""
    return selection.of(Invocation.objects.of_organization(organization).during(period.start, period.end))


def totals(organization: Organization, period: Period, selection: Selection = EVERYTHING) -> Figures:
    """The whole period in one sum."""
    figures: Figures = made(organization, period, selection).final().aggregate(**FIGURES)
    return figures


def usage(organization: Organization, period: Period, group_by: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Buckets of settled calls that began in the period, oldest first.

    Without groups there is one for every hour, day or month, empty ones included; with groups, those that have calls,
    the dearest first.
    """
    columns = {name: column for dimension in group_by for name, column in DIMENSIONS[dimension].items()}
    starts = list(period.starts())
    rows: list[dict[str, Any]]
    if columns or period.granularity != "total":
        rows = _by_time(made(organization, period), starts, FIGURES, **columns)
    else:
        rows = [{"start": starts[0], **totals(organization, period)}]
    if group_by:
        return sorted(rows, key=lambda row: (row["start"].astimezone(UTC), -row["cost_nano"], -row["calls"]))
    found = {row["start"].astimezone(UTC): row for row in rows}
    return [{**NOTHING, **found.get(start.astimezone(UTC), {}), "start": start} for start in starts]


def by_model_and_time(organization: Organization, period: Period, selection: Selection) -> list[dict[str, Any]]:
    """`ai_model_id`, `start`, `is_made_up` and figures of every bucket in which the model was called."""
    figures = {**FIGURES, "is_made_up": BoolOr("is_demo")}
    return _by_time(made(organization, period, selection), list(period.starts()), figures, "ai_model_id")


def by_column(
    organization: Organization, period: Period, selection: Selection, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Figures and latency of the whole period for every value of these columns."""
    calls = made(organization, period, selection).final().values(*columns)
    return [_measured(row) for row in calls.annotate(**FIGURES, **LATENCY).order_by()]


def latency(organization: Organization, period: Period, selection: Selection) -> dict[datetime, dict[str, Any]]:
    """`samples`, `p50` and `p95` of every bucket that has calls, by its start in UTC."""
    rows = _by_time(made(organization, period, selection), list(period.starts()), LATENCY)
    return {row["start"].astimezone(UTC): _measured(row) for row in rows}


def _by_time(
    calls: Any, starts: list[datetime], figures: dict[str, Any], *plain: str, **columns: Any
) -> list[dict[str, Any]]:
    """Figures of settled calls by bucket and columns, in no order; `start` as in `starts`."""
    if len(starts) > 1:
        columns["bucket"] = bucket(starts)
    rows = list(calls.final().values(*plain, **columns).annotate(**figures).order_by())
    for row in rows:
        row["start"] = starts[row.pop("bucket", 1) - 1]
    return rows


def _measured(row: dict[str, Any]) -> dict[str, Any]:
    """A percentile of a few calls says nothing: it is None."""
    return row if row["samples"] >= MIN_SAMPLES else {**row, "p50": None, "p95": None}


def listed(calls: Any) -> Any:
    """With what a list shows of a call, and no more: a model's description may be long."""
    shown = ("id", "state", "started_at", "http_status", "error_code", "latency_ms", "first_token_ms", "input_tokens")
    more = ("output_tokens", "cost_nano", "mode", "is_demo", "api_key__name", "publisher__slug", "ai_model__slug")
    return calls.select_related("publisher", "ai_model", "api_key").only(*shown, *more)


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, newest first. `newer` and `older`: the calls to go on from, None at the ends."""

    calls: list[Invocation]
    newer: UUID | None
    older: UUID | None


def page_of(calls: Any, *, before: UUID | None = None, after: UUID | None = None, size: int) -> Page:
    """The newest calls, those just before a call or those just after it; by id, so that a late page costs no more."""
    rows: list[Invocation]
    if after is not None:
        rows = list(calls.filter(id__gt=after).order_by("id")[: size + 1])
        if len(rows) > size:
            rows = rows[size - 1 :: -1]
            return Page(rows, newer=rows[0].id, older=rows[-1].id)
        before = None  # the newest page, which may have grown since
    if before is not None:
        calls = calls.filter(id__lt=before)
    rows = list(calls.order_by("-id")[: size + 1])
    older = rows[size - 1].id if len(rows) > size else None
    rows = rows[:size]
    return Page(rows, newer=rows[0].id if rows and before is not None else None, older=older)


class ModelHourQuerySet(QuerySet):
    """Reads of the hours that `analytics.services.roll_up` keeps. Instants are aware UTC."""

    #: How calls with one value are counted together, by hour or by day (UTC).
    SPREAD_SQL = """
SELECT date_trunc(%s, h.start, 'UTC'), x.value, sum(x.number)::bigint
  FROM analytics_modelhour h, unnest(h.{name}_values, h.{name}_counts) AS x(value, number)
 WHERE h.ai_model_id = %s AND h.start >= %s AND h.start < %s
 GROUP BY 1, 2 ORDER BY 1, 2
"""

    def of_model(self, ai_model_id: UUID, start: datetime, end: datetime) -> ModelHourQuerySet:
        return self.filter(ai_model_id=ai_model_id, start__gte=start, start__lt=end)

    def by_day(self) -> list[tuple[date, int, int]]:
        """Each day (UTC) that has calls: how many count, and how many of them were answered."""
        days = self.values(day=TruncDay("start", tzinfo=UTC)).annotate(all=Sum("counted"), good=Sum("answered"))
        return [(row["day"].date(), row["all"], row["good"]) for row in days.order_by("day")]

    def spread(
        self, name: str, ai_model_id: UUID, start: datetime, end: datetime, granularity: str
    ) -> list[tuple[datetime, int, int]]:
        """Bucket, value and how many calls had it, ascending. name: "latency", "first_token" or "speed"."""
        if name not in ("latency", "first_token", "speed") or granularity not in ("hour", "day"):
            raise ValueError(name)
        with connection.cursor() as cursor:
            cursor.execute(self.SPREAD_SQL.format(name=name), [granularity, ai_model_id, start, end])
            rows: list[tuple[datetime, int, int]] = cursor.fetchall()
        return rows


def percentile(spread: Sequence[tuple[int, int]], share: float) -> int | None:
    """The value that this share of the calls does not exceed. `spread`: ascending values with their counts."""
    total = sum(number for _value, number in spread)
    reached = 0
    for value, number in spread:
        reached += number
        if reached >= share * total:
            return value
    return None
