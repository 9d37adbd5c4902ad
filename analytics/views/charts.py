"""The chart of the usage page: what was used, hour by hour, day by day or month by month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.forms import Address, Span
from common.money import SYMBOLS, display, to_decimal

METRICS = {
    "spend": gettext_lazy("Spend"),
    "tokens": gettext_lazy("Tokens"),
    "requests": gettext_lazy("Requests"),
    "latency": gettext_lazy("Latency"),
}
TITLES = {
    ("spend", "hour"): gettext_lazy("Spend by hour"),
    ("spend", "day"): gettext_lazy("Spend by day"),
    ("spend", "month"): gettext_lazy("Spend by month"),
    ("tokens", "hour"): gettext_lazy("Tokens by hour"),
    ("tokens", "day"): gettext_lazy("Tokens by day"),
    ("tokens", "month"): gettext_lazy("Tokens by month"),
    ("requests", "hour"): gettext_lazy("Requests by hour"),
    ("requests", "day"): gettext_lazy("Requests by day"),
    ("requests", "month"): gettext_lazy("Requests by month"),
    ("latency", "hour"): gettext_lazy("Latency by hour"),
    ("latency", "day"): gettext_lazy("Latency by day"),
    ("latency", "month"): gettext_lazy("Latency by month"),
}
CHARTED_MODELS = 5  # the rest is one more series


def chart_of(
    metric: str,
    buckets: Sequence[Mapping[str, Any]],
    slow: Mapping[datetime, Mapping[str, Any]],
    names: Mapping[UUID, str],
    span: Span,
    page: Address,
) -> dict[str, Any]:
    """What the tag `chart` is given: stacked by model, or the lines of p50 and p95.

    buckets: of `by_model_and_time`. slow: of `latency`, for that metric alone.
    """
    starts = list(span.period.starts())
    labels = [label_of(start, span) for start in starts]
    chart: dict[str, Any] = {
        "title": TITLES[metric, span.period.granularity],
        "labels": labels,
        "kind": "bars",
        "unit": "",
        "choices": [
            {
                "label": words,
                "href": page.link("chart", metric="" if name == "spend" else name),
                "current": name == metric,
            }
            for name, words in METRICS.items()
        ],
        "csv": page.link(csv="chart"),
    }
    if metric == "latency":
        rows = [slow.get(start.astimezone(UTC), {}) for start in starts]
        lines = [(name, [row.get(name) for row in rows]) for name in ("p50", "p95")]
        return chart | {"kind": "lines", "unit": " ms", "series": lines, "sentence": latency_sentence(lines, span)}
    series, total = stacked(metric, buckets, names, starts)
    if metric == "spend":
        currency = settings.CURRENCY
        chart["unit"] = SYMBOLS.get(currency, f" {currency}")
        shown: Any = [(name, [float(to_decimal(nano)) for nano in values]) for name, values in series]
        amount = display(total, currency)
    else:
        shown = series
        amount = number_format(total, force_grouping=True)
    return chart | {"series": shown, "sentence": sentence(chart["title"], amount, series, span)}


def label_of(start: datetime, span: Span) -> str:
    form = {"hour": "H:i" if span.days == 1 else "j M, H:i", "day": "j M", "month": "M Y"}[span.period.granularity]
    return date_format(start, form)


def stacked(
    metric: str, buckets: Iterable[Mapping[str, Any]], names: Mapping[UUID, str], starts: Sequence[datetime]
) -> tuple[list[tuple[str, list[int]]], int]:
    """A value per bucket for each of the largest models, the rest as one; and the sum of all."""
    by_model: dict[UUID, dict[datetime, int]] = {}
    for row in buckets:
        value = {
            "spend": row["cost_nano"],
            "tokens": row["input_tokens"] + row["output_tokens"],
            "requests": row["calls"],
        }[metric]
        by_model.setdefault(row["ai_model_id"], {})[row["start"].astimezone(UTC)] = value
    sums = {id: sum(values.values()) for id, values in by_model.items()}
    largest = sorted(sums, key=lambda id: (-sums[id], names.get(id, "")))
    ids = [at.astimezone(UTC) for at in starts]
    series = [(names.get(id, str(id)), [by_model[id].get(at, 0) for at in ids]) for id in largest[:CHARTED_MODELS]]
    if rest := largest[CHARTED_MODELS:]:
        series.append((_("Other models"), [sum(by_model[id].get(at, 0) for id in rest) for at in ids]))
    return series, sum(sums.values())


def sentence(title: str, amount: str, series: Sequence[tuple[str, Sequence[int]]], span: Span) -> str:
    """What the picture shows, for those who do not see it."""
    words = {"title": title, "amount": amount, "period": span.words}
    if len(series) < 2:
        return _("%(title)s: %(amount)s in all, %(period)s.") % words
    return _("%(title)s: %(amount)s in all, %(period)s; most of it %(model)s.") % {**words, "model": series[0][0]}


def latency_sentence(series: Sequence[tuple[str, Sequence[int | None]]], span: Span) -> str:
    parts = []
    for name, values in series:
        known = [value for value in values if value is not None]
        if known:
            numbers = {"name": name, "low": number_format(min(known)), "high": number_format(max(known))}
            parts.append(_("%(name)s between %(low)s and %(high)s ms") % numbers)
    return _("How long answered requests took, %(period)s: %(parts)s.") % {
        "period": span.words,
        "parts": ", ".join(parts) or _("not enough requests"),
    }
