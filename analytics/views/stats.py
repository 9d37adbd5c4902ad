"""The Stats of a model, for everybody: how fast it answers, how often, and what goes wrong. Days and hours are UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from analytics.forms import DEFAULT_RANGE, RANGES, Span, read_span
from analytics.models import ModelHour
from analytics.querysets import percentile
from analytics.views.charts import label_of
from common import clock
from common.policy import actor_of
from gateway import errors
from marketplace.models import MEASURED_DAYS, MIN_SAMPLES, AIModel
from marketplace.services import SEE_ALL, Tally, find_model
from marketplace.services.measurements import NO_CALLS, state_of

ZONE = ZoneInfo("UTC")
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
RANGE_WORDS = {"24h": gettext_lazy("24 hours"), "7d": gettext_lazy("7 days"), "30d": gettext_lazy("30 days")}
OTHER = "other"
#: The classes of errors, the publisher's own first; a code that is in none is the caller's, or this site's.
ERROR_CLASSES = {
    errors.UpstreamFailed.code: gettext_lazy("The endpoint failed"),
    errors.UpstreamTimeout.code: gettext_lazy("It took too long"),
    errors.UpstreamBusy.code: gettext_lazy("It was busy"),
    errors.UpstreamInvalidOutput.code: gettext_lazy("Its answer did not fit the schema"),
    errors.UpstreamRejected.code: gettext_lazy("It rejected the input"),
    OTHER: gettext_lazy("Not the model's: the caller left, or this site stopped the call"),
}
INCIDENTS = 10

Buckets = Mapping[datetime, Mapping[str, int | None]]


@dataclass(frozen=True, slots=True)
class Measure:
    """Percentiles of one figure, of the whole period and of each bucket that has enough calls; else they are None."""

    samples: int
    whole: Mapping[str, int | None]
    buckets: Buckets


@dataclass(frozen=True, slots=True)
class Incident:
    """A day (UTC) on which failures stood out."""

    day: date
    state: str
    counted: int
    failed: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What the calls of a model came to. Times are milliseconds, `speed` is tenths of tokens a second."""

    span: Span
    requests: int
    tally: Tally
    latency: Measure
    first_token: Measure
    speed: Measure
    errors: Mapping[str, int]  # by class, those that occurred
    by_bucket: Mapping[datetime, tuple[int, Mapping[str, int]]]  # requests, and errors by class
    days: Sequence[str]  # 90, the oldest first
    incidents: Sequence[Incident]  # the newest first

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def answered_bp(self) -> int | None:
        """The share that was answered in hundredths of a percent; rounded down, for one failure is not "100%"."""
        return self.tally.answered * 10_000 // self.tally.counted if self.tally.counted else None

    @property
    def has_enough(self) -> bool:
        return self.tally.counted >= MIN_SAMPLES

    @property
    def is_empty(self) -> bool:
        return not self.requests and not self.has_days

    @property
    def has_days(self) -> bool:
        """Whether any of the days had enough requests to be told."""
        return any(day != "none" for day in self.days)


def stats_of(ai_model: AIModel, data: Mapping[str, str], at: datetime) -> Stats:
    """The period that `data` asks for by `range`; any other value is the usual one. Always the same queries."""
    wanted = data.get("range", "")
    span, _form = read_span({"range": wanted if wanted in RANGES else DEFAULT_RANGE}, now=at, zone=ZONE)
    start, end = span.period.start.astimezone(UTC), at
    requests, counted, answered = 0, 0, 0
    codes: Counter[str] = Counter()
    by_bucket: dict[datetime, tuple[int, Counter[str]]] = {}
    for hour in ModelHour.objects.of_model(ai_model.pk, start, end).values(
        "start", "requests", "counted", "answered", "errors"
    ):
        requests, counted = requests + hour["requests"], counted + hour["counted"]
        answered += hour["answered"]
        found = _classes(hour["errors"])
        codes += found
        bucket = _bucket(hour["start"], span)
        before, known = by_bucket.get(bucket, (0, Counter()))
        by_bucket[bucket] = (before + hour["requests"], known + found)
    days, incidents = _days(ai_model, at)
    return Stats(
        span=span,
        requests=requests,
        tally=Tally(counted, answered),
        latency=_measure("latency", ai_model, span, start, end),
        first_token=_measure("first_token", ai_model, span, start, end),
        speed=_measure("speed", ai_model, span, start, end),
        errors={name: codes[name] for name in ERROR_CLASSES if codes[name]},
        by_bucket=by_bucket,
        days=days,
        incidents=incidents,
    )


def _bucket(start: datetime, span: Span) -> datetime:
    return start if span.period.granularity == "hour" else datetime.combine(start.astimezone(UTC), time(), UTC)


def _classes(codes: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for code, number in codes.items():
        found[code if code in ERROR_CLASSES else OTHER] += number
    return found


def _measure(name: str, ai_model: AIModel, span: Span, start: datetime, end: datetime) -> Measure:
    whole: Counter[int] = Counter()
    buckets: dict[datetime, list[tuple[int, int]]] = {}
    for bucket, value, number in ModelHour.objects.all().spread(name, ai_model.pk, start, end, span.period.granularity):
        whole[value] += number
        buckets.setdefault(bucket.astimezone(UTC), []).append((value, number))
    return Measure(
        samples=whole.total(),
        whole=_percentiles(sorted(whole.items())),
        buckets={bucket: _percentiles(values) for bucket, values in buckets.items()},
    )


def _percentiles(spread: Sequence[tuple[int, int]]) -> dict[str, int | None]:
    is_enough = sum(number for _value, number in spread) >= MIN_SAMPLES
    return {name: percentile(spread, share) if is_enough else None for name, share in SHARES.items()}


def _days(ai_model: AIModel, at: datetime) -> tuple[list[str], list[Incident]]:
    today = at.astimezone(UTC).date()
    first = today - timedelta(days=MEASURED_DAYS - 1)
    hours = ModelHour.objects.of_model(ai_model.pk, datetime.combine(first, time(), UTC), at)
    tallies = {day: Tally(counted, answered) for day, counted, answered in hours.by_day()}
    states = {day: state_of(tallies.get(day, NO_CALLS)).value for day in _dates(first, today)}
    incidents = [
        Incident(day, states[day], tally.counted, tally.counted - tally.answered)
        for day, tally in sorted(tallies.items(), reverse=True)
        if states[day] in ("warn", "bad")
    ]
    return list(states.values()), incidents


def _dates(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


# --- What is shown of it ----------------------------------------------------------------------------------------------


def charts_of(stats: Stats) -> list[dict[str, Any]]:
    """What the tag `chart` is given: first token, whole answer, speed, requests and errors, those that there are."""
    starts = [start.astimezone(UTC) for start in stats.span.period.starts()]
    labels = [label_of(start, stats.span) for start in starts]

    def lines(title: str, measure: Measure, names: Iterable[str], unit: str, share: int = 1) -> dict[str, Any]:
        series = [(name, [_scaled(measure.buckets.get(at, {}).get(name), share) for at in starts]) for name in names]
        sentence = _sentence(title, series, unit, measure.samples, stats.span)
        return {"kind": "lines", "title": title, "series": series, "unit": unit, "sentence": sentence, "labels": labels}

    def bars(title: str, series: list[tuple[str, list[int]]]) -> dict[str, Any]:
        total = number_format(sum(sum(values) for _name, values in series), force_grouping=True)
        words = {"title": title, "total": total, "period": stats.span.words}
        sentence = _("%(title)s: %(total)s in all, %(period)s.") % words
        return {"kind": "bars", "title": title, "series": series, "unit": "", "sentence": sentence, "labels": labels}

    requests = [stats.by_bucket.get(at, (0, {}))[0] for at in starts]
    curves = [
        lines(_("First token"), stats.first_token, SHARES, _(" ms")),
        lines(_("Whole answer"), stats.latency, SHARES, _(" ms")),
        lines(_("Throughput"), stats.speed, ["p50"], _(" tok/s"), 10),
    ]
    found = [one for one in curves if any(value is not None for _name, row in one["series"] for value in row)]
    found.append(bars(_("Requests"), [(_("Requests"), requests)]))
    if stats.errors:
        classes = [
            (str(ERROR_CLASSES[name]), [stats.by_bucket.get(at, (0, {}))[1].get(name, 0) for at in starts])
            for name in stats.errors
        ]
        found.append(bars(_("Errors by class"), classes))
    return found


def _scaled(value: int | None, share: int) -> float | None:
    return value if value is None or share == 1 else round(value / share, 1)


def _sentence(
    title: str, series: Sequence[tuple[str, Sequence[float | None]]], unit: str, samples: int, span: Span
) -> str:
    parts = []
    for name, values in series:
        known = [value for value in values if value is not None]
        if known:
            words = {"name": name, "low": number_format(min(known)), "high": number_format(max(known)), "unit": unit}
            parts.append(_("%(name)s between %(low)s and %(high)s%(unit)s") % words)
    return _("%(title)s of %(samples)s requests, %(period)s: %(parts)s.") % {
        "title": title,
        "samples": number_format(samples, force_grouping=True),
        "period": span.words,
        "parts": ", ".join(parts) or _("not enough requests"),
    }


@require_safe
def model_stats(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """The figures of one model. Raises NotFound."""
    return _answer(request, publisher, slug, "analytics/stats.html", "text/html")


@require_safe
def model_stats_markdown(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """The same as Markdown, with every bucket and its sample size. Raises NotFound."""
    return _answer(request, publisher, slug, "analytics/stats.md", "text/markdown")


def _answer(request: HttpRequest, publisher: str, slug: str, template: str, kind: str) -> HttpResponse:
    actor = actor_of(request)
    ai_model = find_model(f"{publisher}:{slug}", organization=actor.organization, sees_all=actor.may(SEE_ALL))
    stats = stats_of(ai_model, request.GET, clock.now())
    latency = [(_("First token"), stats.first_token), (_("Whole answer"), stats.latency)]
    context = {
        "ai_model": ai_model,
        "stats": stats,
        "latency": latency,
        "answered": stats.answered_bp,
        "ranges": [
            {"label": RANGE_WORDS[name], "href": f"?range={name}", "current": name == stats.span.range}
            for name in RANGES
        ],
        "errors": [(ERROR_CLASSES[name], number) for name, number in stats.errors.items()],
        "incidents": stats.incidents[:INCIDENTS],
        "min_samples": MIN_SAMPLES,
        "charts": (charts := charts_of(stats) if kind == "text/html" else []),
        "has_curves": any(one["kind"] == "lines" for one in charts),
        "rows": [
            (start.astimezone(UTC), stats.by_bucket.get(start.astimezone(UTC), (0, {}))[0], _row(stats, start))
            for start in stats.span.period.starts()
        ],
    }
    return render(request, template, context, content_type=f"{kind}; charset=utf-8")


def _row(stats: Stats, start: datetime) -> list[Mapping[str, int | None]]:
    at = start.astimezone(UTC)
    return [measure.buckets.get(at, dict.fromkeys(SHARES)) for measure in (stats.first_token, stats.latency)]
