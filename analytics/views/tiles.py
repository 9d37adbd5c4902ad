"""The tiles of the usage page: small lines, and comparisons with the period before in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from analytics.forms import Span
from analytics.querysets import NOTHING, Figures


def summed(rows: Iterable[Mapping[str, Any]]) -> Figures:
    found: Any = dict(NOTHING)
    for row in rows:
        for name in NOTHING:
            found[name] += row[name]
    return found


def sparks(buckets: Iterable[Mapping[str, Any]], span: Span) -> dict[str, list[float]]:
    """Calls, tokens and the share of errors of every bucket, over all models."""
    by_start: dict[Any, list[Mapping[str, Any]]] = {}
    for row in buckets:
        by_start.setdefault(row["start"].astimezone(UTC), []).append(row)
    figures = [summed(by_start.get(start.astimezone(UTC), [])) for start in span.period.starts()]
    return {
        "calls": [one["calls"] for one in figures],
        "tokens": [one["input_tokens"] + one["output_tokens"] for one in figures],
        "errors": [one["errors"] / one["calls"] if one["calls"] else 0 for one in figures],
    }


@dataclass(frozen=True, slots=True)
class Comparison:
    """“+12%” and “against the 30 days before”; `tone` is "up" for better, "down" for worse, or nothing."""

    text: str
    change: str = ""
    tone: str = ""


def compare(now: int, before: int, span: Span) -> Comparison:
    """Two counts, or two amounts; more is neither better nor worse."""
    words = {"before": span.before_words}
    if not before:
        return Comparison(_("none in %(before)s") % words)
    if now >= 3 * before:
        times = number_format(round(now / before, 1), 1, force_grouping=True)
        return Comparison(_("that of %(before)s") % words, _("%(times)s times") % {"times": times})
    percent = round((now - before) * 100 / before)
    if percent == 0:
        return Comparison(_("the same as in %(before)s") % words)
    return Comparison(_("against %(before)s") % words, f"{_sign(percent)}{abs(percent)}%")


def compare_errors(now: Figures, before: Figures, span: Span) -> Comparison:
    """Two shares in percent: “−0.03 points against the 30 days before”; fewer is better."""
    words = {"before": span.before_words}
    if not before["calls"]:
        return Comparison(_("no requests in %(before)s") % words)
    if not now["calls"]:
        return Comparison("")
    points = round(now["errors"] * 100 / now["calls"] - before["errors"] * 100 / before["calls"], 2)
    if points == 0:
        return Comparison(_("the same as in %(before)s") % words)
    change = _("%(points)s points") % {"points": f"{_sign(points)}{number_format(abs(points), 2)}"}
    return Comparison(_("against %(before)s") % words, change, "up" if points < 0 else "down")


def _sign(number: float) -> str:
    return "+" if number > 0 else "\N{MINUS SIGN}"
