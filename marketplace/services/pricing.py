"""What a publisher asks for a model. One `Price` row per change; the row in force is what is shown and billed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from common import clock
from common.money import MAX_NANO, NANO, rate
from common.problems import FieldError, ValidationFailed
from marketplace.errors import WrongStatus
from marketplace.models import AIModel, Price
from marketplace.querysets import PUBLIC_STATUSES
from marketplace.services.forgetting import forget
from observability.services import record

MAX_PRICE_NANO = 1_000_000 * NANO  # keeps the cost of the largest call within a bigint
MAX_ANNOUNCED = 12  # prices to come, of one model: a year of months
SETTLED_SECONDS = 60  # a price that comes so soon may be read already by a call that begins with it


@dataclass(frozen=True, slots=True)
class Terms:
    """A price before it is a row. Nano-units of the instance's currency; rates are per call and per million tokens."""

    type: str
    amount_nano: int | None = None
    period: str | None = None
    per_call_nano: int | None = None
    input_nano_per_million: int | None = None
    output_nano_per_million: int | None = None
    included_calls: int = 0


#: Field of the terms -> where it stands in the API's `pricing`.
POINTERS = {
    "amount_nano": "/amount",
    "per_call_nano": "/rates/per_call",
    "input_nano_per_million": "/rates/input_tokens_per_million",
    "output_nano_per_million": "/rates/output_tokens_per_million",
}


def faults_of(terms: Terms) -> list[FieldError]:
    """What does not fit together; pointers are relative to `pricing`."""
    faults: list[FieldError] = []
    for name, pointer in POINTERS.items():
        nano = getattr(terms, name)
        if nano is not None and terms.type == Price.Type.FREE:
            detail = "A free model has neither an amount nor rates; set “type” to “paid”."
            faults.append({"pointer": pointer, "code": "free_with_price", "detail": detail})
        elif nano is not None and not 0 <= nano <= MAX_PRICE_NANO:
            faults.append({"pointer": pointer, "code": "out_of_range", "detail": "Between 0 and 1,000,000."})
    if terms.amount_nano == 0:
        faults.append({"pointer": "/amount", "code": "too_small", "detail": "An amount is more than 0, or null."})
    if terms.amount_nano is not None and terms.period is None:
        faults.append({"pointer": "/period", "code": "required", "detail": "An amount needs a period."})
    if terms.amount_nano is None and terms.period is not None:
        faults.append({"pointer": "/amount", "code": "required", "detail": "A period needs an amount."})
    if terms.included_calls:
        detail = "Included calls come with plans, which this site does not offer yet; send 0."
        faults.append({"pointer": "/rates/included_calls", "code": "not_available", "detail": detail})
    return faults


def terms_of(price: Price) -> Terms:
    """The terms of a row, to be given again."""
    return Terms(**{one.name: getattr(price, one.name) for one in fields(Terms)})


@transaction.atomic
def set_price(*, ai_model: AIModel, terms: Terms, effective_from: datetime | None = None) -> Price:
    """The model's price from now on, or from a later instant; the one in force if it is the same now.

    Raises ValidationFailed, also for an instant that has passed or already has a price, and WrongStatus.
    """
    _check(terms)
    status = _lock(ai_model)
    if status == AIModel.Status.ARCHIVED:
        raise WrongStatus("An archived model has no more prices.", model_status=status)
    if status in PUBLIC_STATUSES and terms.type == Price.Type.PAID and not _asks_for_money(terms):
        detail = "A paid model that everybody may call needs an amount or a rate."
        raise ValidationFailed(errors=[{"pointer": "/pricing/rates", "code": "required", "detail": detail}])
    values = {**asdict(terms), "currency": settings.CURRENCY}
    if effective_from is not None:
        return _announce_price(ai_model, values, effective_from)
    current: Price | None = ai_model.prices.in_force().first()
    if current is not None and all(getattr(current, name) == value for name, value in values.items()):
        return current
    return _add(ai_model, values, clock.now(), current)


@transaction.atomic
def withdraw_price(*, price: Price) -> None:
    """Take back what was announced. Raises ValidationFailed for a price that has come, or comes within the minute."""
    soonest = clock.now() + timedelta(seconds=SETTLED_SECONDS)
    if not Price.objects.filter(pk=price.pk, effective_from__gt=soonest).delete()[0]:
        detail = "It has taken effect, or does so within a minute. Set another price."
        raise ValidationFailed(errors=[{"pointer": "/effective_from", "code": "too_late", "detail": detail}])
    record(
        "model.price_withdrawn",
        target=price.ai_model,
        organization_id=price.ai_model.publisher_id,
        before={**asdict(terms_of(price)), "effective_from": price.effective_from.isoformat()},
    )


def _announce_price(ai_model: AIModel, values: dict[str, Any], at: datetime) -> Price:
    announced = [price.effective_from for price in ai_model.prices.announced()]
    detail = ""
    if at <= clock.now():
        detail = "A price takes effect now or later: what was charged stays charged."
    elif at in announced:
        detail = "Another price takes effect at this instant."
    elif len(announced) >= MAX_ANNOUNCED:
        detail = f"There are {MAX_ANNOUNCED} prices to come already. Withdraw one first."
    if detail:
        raise ValidationFailed(errors=[{"pointer": "/effective_from", "code": "invalid", "detail": detail}])
    before: Price | None = ai_model.prices.filter(effective_from__lt=at).order_by("-effective_from").first()
    return _add(ai_model, values, at, before)


def _lock(ai_model: AIModel) -> str:
    """One price after the other. Returns the model's status."""
    status: str = AIModel.objects.select_for_update(no_key=True).values_list("status", flat=True).get(pk=ai_model.pk)
    return status


def _asks_for_money(terms: Terms) -> bool:
    return any(getattr(terms, name) is not None for name in POINTERS)


def _check(terms: Terms) -> None:
    if faults := faults_of(terms):
        raise ValidationFailed(errors=[{**fault, "pointer": f"/pricing{fault['pointer']}"} for fault in faults])


def _add(ai_model: AIModel, values: dict[str, Any], at: datetime, before: Price | None) -> Price:
    price: Price = ai_model.prices.create(**values, effective_from=at)
    record(
        "model.price_changed",
        target=ai_model,
        organization_id=ai_model.publisher_id,
        before=None if before is None else {name: getattr(before, name) for name in values},
        after={**values, "effective_from": at.isoformat()},
    )
    return price


def apply_prices() -> int:
    """Tell the listings of prices that came into force by themselves, so that filters and order by price know them.

    What is shown and billed never waits for this. A sweep looks a week back; whatever else is saved with a listing
    tells it too. Returns how many listings were told.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE marketplace_aimodel m SET price_order = price_order"  # a trigger reads the price
            "  FROM marketplace_price p WHERE p.ai_model_id = m.id"
            "   AND p.effective_from > clock_now() - interval '7 days' AND p.effective_from <= clock_now()"
            "   AND p.effective_from > p.created_at + interval '1 minute'"  # the others told it when they were written
            "   AND p.id = (SELECT r.id FROM marketplace_price_in_force(m.id) r)"
            "   AND (m.price_type, m.price_order) IS DISTINCT FROM (p.type, greatest(coalesce(p.amount_nano, 0),"
            "     coalesce(p.per_call_nano, 0), coalesce(p.input_nano_per_million, 0),"
            "     coalesce(p.output_nano_per_million, 0)))"
        )
        told = int(cursor.rowcount)
    if told:
        forget()
    return told


def cost_of(price: Price, *, input_tokens: int, output_tokens: int) -> int:
    """One answered call at `price`, in nano-units: per call plus per token, rounded once, half up.

    At most what a column holds; no hold is ever near it, so nobody is charged less for that.
    """
    tokens = input_tokens * (price.input_nano_per_million or 0) + output_tokens * (price.output_nano_per_million or 0)
    return min((price.per_call_nano or 0) + rate(tokens, 1, 1_000_000), MAX_NANO)
