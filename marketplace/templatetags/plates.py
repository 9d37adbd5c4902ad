"""The rating plate: a model's figures, always seven, always in the same order."""

from __future__ import annotations

from decimal import Decimal
from typing import TypedDict

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from common.money import display
from marketplace.models import AIModel, Category, Measurement, Price

#: Tasks whose work is counted in tokens, so that a free model's plate says so too.
TEXT_TASKS = {Category.CHAT, Category.TEXT_GENERATION, Category.CODE}
CARD_KEYS = ("per_period", "input", "output", "per_call", "first_token", "latency", "context", "uptime")
CARD_CELLS = 3

SIZES = ((10**9, "B"), (10**6, "M"), (10**3, "k"))


class Cell(TypedDict, total=False):
    """One figure of a plate (`components/plate.html`). `unknown`: why there is a dash, for those who hear the page."""

    key: str
    label: str
    per: str
    value: str
    unit: str
    unknown: str


def plate_cells(ai_model: AIModel) -> list[Cell]:
    """The figures of a model in their fixed order: what it costs, what it takes, how it runs, how it may be used.

    Of models priced by the token: input, output, context, first_token (latency, if it does not stream), throughput,
    uptime, license. Those without output tokens have latency and its p95 for output and throughput; others begin with
    their unit instead: per_call, latency, latency_p95, requests, then context or version. A subscription's amount,
    per_period, stands before them where there are rates too.
    """
    price, found = ai_model.price, ai_model.measured or Measurement(requests=0, sample_size=0)
    cells = [_amount(price)] if price is not None and price.amount_nano and price.has_rates else []
    if is_priced_by_token(ai_model, price):
        nano_in, nano_out = (price.input_nano_per_million, price.output_nano_per_million) if price else (None, None)
        if nano_out is not None or not nano_in:
            streams = found.first_token_p50_ms is not None or "streaming" in ai_model.capabilities
            cells += [
                _price("input", _("Input"), price, nano_in, per=_("per M")),
                _price("output", _("Output"), price, nano_out, per=_("per M")),
                _context(ai_model),
                _time("first_token", _("First token p50"), found.first_token_p50_ms)
                if streams or found.latency_p50_ms is None
                else _time("latency", _("Latency p50"), found.latency_p50_ms),
                _throughput(found),
            ]
        else:
            cells += [
                _price("input", _("Per M tokens"), price, nano_in),
                _context(ai_model),
                _time("latency", _("Latency p50"), found.latency_p50_ms),
                _time("latency_p95", _("Latency p95"), found.latency_p95_ms),
                _requests(found),
            ]
    else:
        is_subscription = price is not None and price.amount_nano and not price.has_rates
        cells += [
            _amount(price)
            if is_subscription and price is not None
            else _price("per_call", _("Per call"), price, price.per_call_nano if price else None),
            _time("latency", _("Latency p50"), found.latency_p50_ms),
            _time("latency_p95", _("Latency p95"), found.latency_p95_ms),
            _requests(found),
            _context(ai_model) if ai_model.context_tokens else _version(ai_model),
        ]
    return [*cells, _uptime(found), _license(ai_model)]


def card_cells(ai_model: AIModel) -> list[Cell]:
    """The three that a card shows: what it costs, and how fast it is or how much it takes."""
    cells = {cell["key"]: cell for cell in plate_cells(ai_model)}
    if "output" in cells or "unknown" in cells.get("context", {}):
        cells.pop("context", None)
    return [cells[key] for key in CARD_KEYS if key in cells][:CARD_CELLS]


def is_priced_by_token(ai_model: AIModel, price: Price | None) -> bool:
    if price is None or not (price.has_rates or price.amount_nano):
        return ai_model.category in TEXT_TASKS
    return price.input_nano_per_million is not None or price.output_nano_per_million is not None


# --- Cells ------------------------------------------------------------------------------------------------------------


def _unknown(key: str, label: str, why: str) -> Cell:
    return {"key": key, "label": label, "value": "–", "unknown": why}


def _price(key: str, label: str, price: Price | None, nano: int | None, *, per: str = "") -> Cell:
    if price is None or (price.type == Price.Type.PAID and not price.asks_for_money):
        return {**_unknown(key, label, _("no price yet")), "per": per}
    return {"key": key, "label": label, "per": per, "value": display(nano, price.currency) if nano else _("Free")}


def _amount(price: Price) -> Cell:
    label = _("Per month") if price.period == Price.Period.MONTHLY else _("Per year")
    return {"key": "per_period", "label": label, "value": display(price.amount_nano or 0, price.currency)}


def _context(ai_model: AIModel) -> Cell:
    if ai_model.context_tokens is None:
        return _unknown("context", _("Context"), _("not stated"))
    tokens = ai_model.context_tokens
    if tokens % 1000 and tokens % 1024 == 0:  # counted in powers of two: 8,192 is known as 8k
        tokens = tokens // 1024 * 1000 if tokens < 1024**2 else tokens // 1024**2 * 10**6
    return {"key": "context", "label": _("Context"), "value": _compact(tokens)}


def _time(key: str, label: str, milliseconds: int | None) -> Cell:
    if milliseconds is None:
        return _unknown(key, label, _("not enough requests"))
    if milliseconds < 1000:
        return {"key": key, "label": label, "value": str(milliseconds), "unit": _("ms")}
    return {"key": key, "label": label, "value": _number(Decimal(milliseconds) / 1000, 2), "unit": _("s")}


def _throughput(found: Measurement) -> Cell:
    key, label, speed = "throughput", _("Throughput"), found.tokens_per_second
    if speed is None:
        return _unknown(key, label, _("not enough requests"))
    return {"key": key, "label": label, "value": _number(speed, 0 if speed >= 10 else 1), "unit": _("tok/s")}


def _requests(found: Measurement) -> Cell:
    few = found.requests < 100_000
    shown = str(number_format(found.requests, force_grouping=True)) if few else _compact(found.requests)
    return {"key": "requests", "label": _("Requests 30 d"), "value": shown}


def _version(ai_model: AIModel) -> Cell:
    if ai_model.current_version is None:
        return _unknown("version", _("Version"), _("none yet"))
    return {"key": "version", "label": _("Version"), "value": ai_model.current_version.version}


def _uptime(found: Measurement) -> Cell:
    if found.uptime_bp is None:
        return _unknown("uptime", _("Uptime 30 d"), _("not enough requests"))
    return {"key": "uptime", "label": _("Uptime 30 d"), "value": uptime_words(found.uptime_bp), "unit": "%"}


def _license(ai_model: AIModel) -> Cell:
    if not ai_model.license:
        return _unknown("license", _("License"), _("not stated"))
    return {"key": "license", "label": _("License"), "value": ai_model.license}


def uptime_words(basis_points: int) -> str:
    """9993 is "99.93"; without decimals where it is whole."""
    return _number(Decimal(basis_points) / 100, 2 if basis_points % 100 else 0)


def _number(value: Decimal, places: int) -> str:
    return str(number_format(round(value, places), places, use_l10n=True))


def _compact(value: int) -> str:
    """950, 4.1k, 128k, 1M: three figures, no more."""
    for size, suffix in SIZES:
        if value * 2000 >= size * 1999:  # what would be rounded up to it
            short = round(Decimal(value) / size, 1 if value < 10 * size else 0)
            return f"{_number(short, 0 if short == int(short) else 1)}{suffix}"
    return str(value)
