"""A model's price, the cost of a call and its availability, as sentences."""

from __future__ import annotations

from typing import TypedDict

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from common.money import NANO, display
from marketplace.models import AIModel, Measurement, Price
from marketplace.services import typical_cost
from marketplace.templatetags.plates import uptime_words

UP_FROM_BP = 9_900  # of the last three days: what answers less often is degraded

Day = Measurement.Day


class Sentence(TypedDict):
    """For `components/notice.html`: bold words, then the rest."""

    title: str
    text: str


def price_words(price: Price | None) -> str:
    """A price as one sentence would have it: "$0.40 per million input tokens, $1.20 per million output tokens"."""
    if price is None or not (parts := _price_parts(price)):
        return _("Free")
    return ", ".join(parts)


def cost_words(ai_model: AIModel) -> Sentence | None:
    """What a call costs, from how much usually goes in and out; None where nothing is known."""
    price, measured = ai_model.price, ai_model.measured
    if price is None or not price.asks_for_money:
        is_free = price is not None and price.type == Price.Type.FREE
        return {"title": _("Requests are free."), "text": ""} if is_free else None
    begin = "" if not price.amount_nano else _("Beside the subscription. ")
    if not price.has_rates:
        return {"title": _("%(price)s.") % {"price": price_words(price)}, "text": _("Requests cost nothing more.")}
    cost = typical_cost(ai_model)
    if cost is None:
        words = _("There were not enough requests yet to say what a typical one costs.")
        return {"title": _("%(price)s.") % {"price": price_words(price)}, "text": words}
    per_token = price.input_nano_per_million is not None or price.output_nano_per_million is not None
    text = begin
    if per_token and measured is not None:
        text += _("%(input)s tokens in and %(output)s out. ") % {
            "input": _count(measured.typical_input_tokens or 0),
            "output": _count(measured.typical_output_tokens or 0),
        }
    title = _("A typical request costs %(cost)s.") if per_token else _("A request costs %(cost)s.")
    return {"title": title % {"cost": display(cost, price.currency)}, "text": (text + _how_many(price, cost)).strip()}


def availability_words(measured: Measurement | None) -> Sentence | None:
    """How often it answered, and on how many days it did not; None before there are enough requests."""
    if measured is None or measured.uptime_bp is None:
        return None
    known = [day for day in measured.days if day != Day.NONE]
    worse = sum(day != Day.OK for day in known)
    title = _("%(percent)s%% of %(count)s requests answered in 30 days.") % {
        "percent": uptime_words(measured.uptime_bp),
        "count": _count(measured.sample_size),
    }
    text = _("Failures stood out on no day.")
    if worse:
        words = ngettext(
            "Failures stood out on %(worse)s of %(known)s measured day.",
            "Failures stood out on %(worse)s of %(known)s measured days.",
            len(known),
        )
        text = words % {"worse": worse, "known": len(known)}
    return {"title": title, "text": text}


def state_of(ai_model: AIModel) -> dict[str, object] | None:
    """The badge of a model's page (`components/badge.html`); None where there is nothing to say."""
    match ai_model.status:
        case AIModel.Status.PUBLISHED:
            pass
        case AIModel.Status.DEPRECATED:
            return {"label": _("Deprecated"), "tone": "warn"}
        case _:
            return {"label": ai_model.get_status_display(), "tone": "info"}
    if not ai_model.is_callable:
        return {"label": _("Not callable"), "tone": "warn"}
    if ai_model.degraded_at is not None:
        return {"label": _("Degraded"), "tone": "warn", "dot": True}
    recent = ai_model.measured.recent_uptime_bp if ai_model.measured else None
    if recent is None:
        return None
    if recent < UP_FROM_BP:
        return {"label": _("Degraded"), "tone": "warn", "dot": True}
    return {"label": _("Operational"), "tone": "ok", "dot": True}


def _how_many(price: Price, cost_nano: int) -> str:
    """How far one unit of the currency goes, with three figures, rounded down; nothing where it does not reach."""
    number = NANO // cost_nano if cost_nano else 0
    if number < 2:
        return ""
    step = 10 ** max(len(str(number)) - 3, 0)
    words = _("That is about %(count)s requests for %(unit)s.")
    return words % {"count": _count(number // step * step), "unit": display(NANO, price.currency).replace(".00", "")}


def _price_parts(price: Price) -> list[str]:
    parts = []
    if price.amount_nano:
        text = _("%(amount)s a month") if price.period == Price.Period.MONTHLY else _("%(amount)s a year")
        parts.append(text % {"amount": display(price.amount_nano, price.currency)})
    for nano, text in (
        (price.per_call_nano, _("%(amount)s per call")),
        (price.input_nano_per_million, _("%(amount)s per million input tokens")),
        (price.output_nano_per_million, _("%(amount)s per million output tokens")),
    ):
        if nano:
            parts.append(text % {"amount": display(nano, price.currency)})
    if price.included_calls:
        text = ngettext("%(count)s call included", "%(count)s calls included", price.included_calls)
        parts.append(text % {"count": _count(price.included_calls)})
    return parts


def _count(value: int) -> str:
    return str(number_format(value, force_grouping=True))
