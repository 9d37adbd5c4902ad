"""The price shown, the price billed and the price in the API are one, whatever the history and whenever asked."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.template import Context, Template
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import clock
from common.money import NANO
from gateway.hotpath import deployments, snapshot
from gateway.services import create_deployment
from gateway.services.policy import Outcome, Usage, charge
from marketplace.models import AIModel, Price
from marketplace.serializers import model_out
from marketplace.services import Terms
from marketplace.tests.factories import make_model, make_organization

RATES = ("per_call_nano", "input_nano_per_million", "output_nano_per_million")
amounts = st.one_of(st.none(), st.integers(0, 5 * NANO))
terms = st.one_of(
    st.just(Terms(type="free")),
    st.fixed_dictionaries(dict.fromkeys(RATES, amounts))
    .filter(lambda rates: any(rate is not None for rate in rates.values()))
    .map(lambda rates: Terms(type="paid", **rates)),
)
#: Days from now at which prices begin, and at which somebody looks.
days = st.integers(-400, 400)


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=terms,
    later=st.lists(st.tuples(days, terms), max_size=8, unique_by=lambda one: one[0]),
    looks=st.lists(days, min_size=1, max_size=5),
    tokens=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
)
def test_page_api_and_bill_name_one_price_at_every_instant(db, first, later, looks, tokens):
    with transaction.atomic():
        ai_model = make_model(status="published", pricing=first)
        place = make_organization()
        version = ai_model.current_version.version
        create_deployment(organization=place, name="pinned", ai_model_id=ai_model.pk, version=version)
        now = clock.now()
        history = [(ai_model.price.effective_from, first)]
        for day, one in later:
            # Half a day apart from every look, so that the two never fall together.
            at = now + timedelta(days=day, hours=12)
            Price.objects.create(ai_model=ai_model, **_columns(one), effective_from=at)
            history.append((at, one))
        for day in looks:
            _look_at(timedelta(days=day))
            _compare(ai_model, place, [one for at, one in sorted(history, key=_begin) if at <= clock.now()], tokens)
        transaction.set_rollback(True)


def _compare(ai_model: AIModel, place: Any, past: list[Terms], tokens: tuple[int, int]) -> None:
    shown = AIModel.objects.detailed().get(pk=ai_model.pk)
    listed = AIModel.objects.in_order([ai_model.pk])[0]
    billed = _snapshot(ai_model)
    if not past:
        assert (shown.price, listed.price, billed, _pinned(place)) == (None, None, None, None)
        return
    expected = _columns(past[-1])
    for price in (shown.price, listed.price, billed.price, AIModel.objects.get(pk=ai_model.pk).price):
        assert {name: getattr(price, name) for name in expected} == expected
    assert _pinned(place) == shown.price.pk == billed.price.id
    # What somebody works out from the figures of the API is what a call is charged.
    pricing = model_out(shown)["pricing"]
    assert model_out(listed)["pricing"] == pricing
    found = charge(Outcome.ANSWERED, mode="live", price=billed.price, usage=Usage(*tokens, "reported"))
    assert found.cost_nano == _cost(pricing, tokens)
    # And the page says it in the words of the same row.
    page = Template("{% load marketplace %}{{ ai_model.price|price_words }}{% model_prices ai_model %}")
    html = page.render(Context({"ai_model": shown}))
    words = html.partition("<section")[0].strip()
    assert html.count("In force") == 1
    assert words in html[: html.index("In force")].rpartition("<tr>")[2]
    # Filters and order go by a column that triggers and a sweep keep.
    AIModel.objects.filter(pk=ai_model.pk).update(name="Sentiment")
    figures = [getattr(past[-1], name) or 0 for name in RATES]
    assert AIModel.objects.values_list("price_type", "price_order").get(pk=ai_model.pk) == (
        past[-1].type,
        max(figures),
    )


def _begin(one: tuple[Any, Terms]) -> Any:
    return one[0]


def _columns(one: Terms) -> dict[str, Any]:
    return {"type": one.type, "currency": "USD", **{name: getattr(one, name) for name in RATES}}


def _look_at(offset: timedelta) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [f"{offset.total_seconds()} seconds"])


def _rows(query: str, parameters: list[Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _snapshot(ai_model: AIModel) -> snapshot.Listing | None:
    """The model as a call sees it, by the gateway's own statement."""
    rows = _rows(snapshot._query(snapshot.LISTING, "m.id = %s"), [ai_model.pk])
    if not rows:
        return None
    schemas = {name: json.loads(rows[0][name]) for name in ("input_schema", "output_schema")}
    return snapshot._listing(rows[0] | schemas)


def _pinned(place: Any) -> Any:
    """The id of the price at which a call by the name of a pinned deployment is billed."""
    return _rows(deployments.DEPLOYMENT, [place.pk, "pinned"])[0]["price_id"]


def _cost(pricing: dict[str, Any], tokens: tuple[int, int]) -> int:
    """In nano-units, as a reader of the API works it out: per call, and per million tokens, rounded half up once."""
    rates = pricing["rates"]
    per_call = Decimal(rates["per_call"] or 0)
    by_token = Decimal(rates["input_tokens_per_million"] or 0) * tokens[0]
    by_token += Decimal(rates["output_tokens_per_million"] or 0) * tokens[1]
    return int(per_call * NANO) + int((by_token * NANO / 1_000_000).quantize(Decimal(1), rounding="ROUND_HALF_UP"))
