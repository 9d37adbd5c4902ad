"""A price that takes effect while calls come in: what the API says and what receipts say is the same."""

import asyncio
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client

from apikeys.tests.factories import make_key, make_person
from common import clock
from common.money import NANO
from gateway.hotpath.snapshot import TTL_SECONDS
from gateway.models import Invocation
from gateway.services import check_books, set_endpoint
from gateway.tests.asgi import Request, running_app
from marketplace.models import AIModel
from marketplace.services import Terms, set_price
from marketplace.tests.factories import make_model

ANYTHING = {"input": {"type": "object"}, "output": {"type": "object"}}
AHEAD = 3.0


@pytest.fixture
def ai_model(database, settings_of_module, upstream):
    upstream.answer, upstream.behave = {"label": "kind"}, None
    terms = Terms(type="paid", per_call_nano=NANO // 1000)
    made = make_model(status="published", api_spec=ANYTHING, pricing=terms)
    set_endpoint(ai_model=made, url=upstream.url, protocol="json", timeout_seconds=5)
    return made


def said(ai_model: AIModel) -> str:
    """The price per call, as the API says it now."""
    return Client().get(f"/api/models/{ai_model.public_id}").json()["pricing"]["rates"]["per_call"]


def test_calls_are_billed_at_the_price_that_was_announced_from_its_instant_on(ai_model):
    secret = make_key(user=make_person())[1]
    path = f"/api/models/{ai_model.publisher.slug}:{ai_model.slug}/invoke"
    at = clock.now() + timedelta(seconds=AHEAD)
    set_price(ai_model=ai_model, terms=Terms(type="paid", per_call_nano=NANO // 100), effective_from=at)
    assert said(ai_model) == "0.001"

    async def scenario():
        async with running_app() as app:
            answers = [await Request(path, {}, secret)(app)]
            await asyncio.sleep(AHEAD + TTL_SECONDS)
            answers.append(await Request(path, {}, secret)(app))
        return [answer.status for answer in answers]

    connections.close_all()
    assert asyncio.run(scenario()) == [200, 200]
    assert said(ai_model) == "0.01"
    calls = Invocation.objects.filter(ai_model=ai_model).order_by("id")
    assert [call.cost_nano for call in calls] == [NANO // 1000, NANO // 100]
    assert [call.price_id for call in calls] == [price.pk for price in ai_model.prices.order_by("effective_from")]
    assert check_books() == []
