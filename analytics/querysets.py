"""Figures over calls: sums by time and by what the calls have in common. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from django.db.models import CharField, Count, F, Q, Sum, Value
from django.db.models.functions import Concat, TruncDay, TruncHour, TruncMonth

from accounts.models import Organization
from gateway.models import Invocation

TRUNCATIONS = {"hour": TruncHour, "day": TruncDay, "month": TruncMonth}
GRANULARITIES = (*TRUNCATIONS, "total")

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


class Figures(TypedDict):
    """What one bucket adds up to; the cost in nano-units."""

    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_nano: int


NOTHING: Figures = {"calls": 0, "errors": 0, "input_tokens": 0, "output_tokens": 0, "cost_nano": 0}


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
        while at < self.end:
            yield at
            if self.granularity == "total":
                return
            at = next_boundary(at, self.granularity)


def next_boundary(at: datetime, granularity: str) -> datetime:
    """The next full hour, midnight or first of a month after `at`, in its own time zone."""
    zone = at.tzinfo
    if granularity == "hour":
        # In UTC, so that the hour that a clock change repeats or leaves out is right too.
        offset = timedelta(minutes=at.minute, seconds=at.second, microseconds=at.microsecond)
        return (at.astimezone(ZoneInfo("UTC")) - offset + timedelta(hours=1)).astimezone(zone)
    day = at.date() + timedelta(days=1)
    if granularity == "month":
        day = date(at.year + at.month // 12, at.month % 12 + 1, 1)
    return datetime.combine(day, time.min, tzinfo=zone)


def totals(organization: Organization, period: Period) -> Figures:
    """The whole period in one sum."""
    figures: Figures = _calls(organization, period).aggregate(**FIGURES)
    return figures


def usage(organization: Organization, period: Period, group_by: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Buckets of settled calls that began in the period, oldest first.

    Without groups there is one for every hour, day or month, empty ones included; with groups, those that have calls,
    the dearest first.
    """
    columns = {name: column for dimension in group_by for name, column in DIMENSIONS[dimension].items()}
    calls = _calls(organization, period)
    truncate = TRUNCATIONS.get(period.granularity)
    if truncate is not None:
        columns["start"] = truncate("started_at", tzinfo=period.zone)
    rows: list[dict[str, Any]]
    if columns:
        rows = list(calls.values(**columns).annotate(**FIGURES).order_by())
    else:
        rows = [dict(totals(organization, period))]
    begin = period.start.astimezone(period.zone)
    for row in rows:
        row["start"] = max(row.get("start", begin), begin)
    if group_by:
        return sorted(rows, key=lambda row: (row["start"], -row["cost_nano"], -row["calls"]))
    found = {row["start"]: row for row in rows}
    return [{**NOTHING, **found.get(start, {}), "start": start} for start in period.starts()]


def _calls(organization: Organization, period: Period) -> Any:
    return Invocation.objects.of_organization(organization).during(period.start, period.end).final()
