"""Models side by side: the rows of their plates, with the best of each row named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypedDict

from django import template
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from marketplace.models import AIModel
from marketplace.templatetags.plates import Cell, plate_cells

register = template.Library()

Number = int | float | Decimal
#: The rows in their order; a plate has some of them.
KEYS = (
    *("per_period", "input", "output", "per_call", "first_token", "latency", "latency_p95", "throughput", "uptime"),
    *("context", "license"),
)
LOWEST, HIGHEST = min, max
#: Which of the figures is the best, where one is. Another license is no better.
BEST = {
    **dict.fromkeys(("per_period", "input", "output", "per_call", "first_token", "latency", "latency_p95"), LOWEST),
    **dict.fromkeys(("throughput", "uptime", "context", "rating"), HIGHEST),
}


class Shown(TypedDict):
    """A cell of the table. why: of a dash, for those who hear the page."""

    value: str
    unit: str
    why: str
    is_best: bool


class Row(TypedDict):
    label: str
    cells: list[Shown]


@register.inclusion_tag("marketplace/comparison.html")
def comparison(models: Sequence[AIModel]) -> dict[str, object]:
    """A table with a column for each model, of `AIModelQuerySet.detailed`; no query of its own."""
    plates = [{cell["key"]: cell for cell in plate_cells(one)} for one in models]
    rows = [_row(key, models, plates) for key in KEYS if any(key in plate for plate in plates)]
    rows.append({"label": _("Version"), "cells": [_version(one) for one in models]})
    ratings = [_rating(one) for one in models]
    figures = [one.rating if one.rating_count else None for one in models]
    rows.append({"label": _("Rating"), "cells": _with_best("rating", ratings, figures)})
    return {
        "heads": [
            {"name": one.name, "slug": f"{one.publisher.slug}/{one.slug}", "href": _page(one), "model": one}
            for one in models
        ],
        "tasks": [one.get_category_display() for one in models],
        "rows": rows,
    }


def _page(ai_model: AIModel) -> str:
    return reverse("model", args=[ai_model.publisher.slug, ai_model.slug])


def _row(key: str, models: Sequence[AIModel], plates: Sequence[dict[str, Cell]]) -> Row:
    found = next(plate[key] for plate in plates if key in plate)
    label = f"{found['label']} {found['per']}" if found.get("per") else found["label"]
    shown = [_shown(plate.get(key)) for plate in plates]
    figures = [
        FIGURES[key](one) if key in FIGURES and key in plate and "unknown" not in plate[key] else None
        for one, plate in zip(models, plates, strict=True)
    ]
    return {"label": label, "cells": _with_best(key, shown, figures)}


def _shown(cell: Cell | None) -> Shown:
    if cell is None:
        return {"value": "", "unit": "", "why": _("does not apply"), "is_best": False}
    if "unknown" in cell:
        return {"value": "", "unit": "", "why": cell["unknown"], "is_best": False}
    return {"value": cell["value"], "unit": cell.get("unit", ""), "why": "", "is_best": False}


def _version(ai_model: AIModel) -> Shown:
    if ai_model.current_version is None:
        return {"value": "", "unit": "", "why": _("none yet"), "is_best": False}
    return {"value": ai_model.current_version.version, "unit": "", "why": "", "is_best": False}


def _rating(ai_model: AIModel) -> Shown:
    if not ai_model.rating_count:
        return {"value": "", "unit": "", "why": _("no reviews yet"), "is_best": False}
    count = number_format(ai_model.rating_count, force_grouping=True)
    return {"value": number_format(ai_model.rating, 1), "unit": f"({count})", "why": "", "is_best": False}


def _with_best(key: str, cells: list[Shown], figures: Sequence[Number | None]) -> list[Shown]:
    """Marks the best of at least two figures that differ; several, where they are equally good."""
    known = [figure for figure in figures if figure is not None]
    if key in BEST and len(set(known)) > 1:
        best = BEST[key](known)
        for cell, figure in zip(cells, figures, strict=True):
            cell["is_best"] = figure == best
    return cells


def _of_price(column: str) -> Callable[[AIModel], Number | None]:
    def read(ai_model: AIModel) -> Number | None:
        return (getattr(ai_model.price, column) or 0) if ai_model.price is not None else None

    return read


def _measured(column: str) -> Callable[[AIModel], Number | None]:
    def read(ai_model: AIModel) -> Number | None:
        found: Number | None = getattr(ai_model.measured, column, None)
        return found

    return read


def _per_month(ai_model: AIModel) -> Number | None:
    """Twelve times what is paid by the month, what is paid by the year: to compare by."""
    price = ai_model.price
    if price is None or price.amount_nano is None:
        return None
    return price.amount_nano * (12 if price.period == price.Period.MONTHLY else 1)


FIGURES: dict[str, Callable[[AIModel], Number | None]] = {
    "per_period": _per_month,
    "input": _of_price("input_nano_per_million"),
    "output": _of_price("output_nano_per_million"),
    "per_call": _of_price("per_call_nano"),
    "first_token": _measured("first_token_p50_ms"),
    "latency": _measured("latency_p50_ms"),
    "latency_p95": _measured("latency_p95_ms"),
    "throughput": _measured("tokens_per_second"),
    "uptime": _measured("uptime_bp"),
    "context": lambda ai_model: ai_model.context_tokens,
}
