"""Prices through time: announced, in force, over; read by everybody, set by the publisher."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from common import clock
from common.ids import encode, uuid7
from common.money import NANO
from marketplace import services
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.services.pricing import MAX_ANNOUNCED
from marketplace.tests.factories import make_model
from marketplace.tests.test_api import Person
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
CHEAP, DEAR = (Terms(type="paid", per_call_nano=nano) for nano in (NANO // 1000, NANO // 100))


@pytest.fixture
def grace():
    return Person()


@pytest.fixture
def model(grace):
    return make_model(publisher=grace.organization, status="published", pricing=CHEAP)


def shift(**by: int) -> None:
    """Let the time of this transaction be later."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [str(timedelta(**by))])


def per_call(ai_model: AIModel) -> tuple[str, str | None]:
    """In force and announced, as everybody reads it."""
    pricing = Client().get(f"/api/models/{ai_model.public_id}").json()["pricing"]
    announced = pricing["announced"]
    return pricing["rates"]["per_call"], announced and announced["rates"]["per_call"]


def test_a_price_is_announced_and_then_in_force(grace, model):
    path = f"/api/models/{model.public_id}/prices"
    at = clock.now() + timedelta(days=30)
    body = {"type": "paid", "rates": {"per_call": "0.01"}, "effective_from": at.isoformat()}
    answer = grace.post(path, body)
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["state"], made["rates"]["per_call"]) == ("announced", "0.01")
    assert per_call(model) == ("0.001", "0.01")
    listed = Client().get("/api/models").json()["data"][0]["pricing"]
    assert listed["announced"]["effective_from"] == made["effective_from"]
    page = Client().get(f"/models/{model.publisher.slug}/{model.slug}").content.decode()
    assert "Announced:" in page
    assert page.index("$0.01 per call") > 0
    shift(days=31)
    assert per_call(model) == ("0.01", None)
    assert [row["state"] for row in Client().get(path).json()["data"]] == ["in_force", "past"]
    assert "Announced:" not in Client().get(f"/models/{model.publisher.slug}/{model.slug}").content.decode()


def test_what_is_announced_may_be_withdrawn_until_it_comes(grace, model):
    path = f"/api/models/{model.public_id}/prices"
    price = services.set_price(ai_model=model, terms=DEAR, effective_from=clock.now() + timedelta(days=1))
    stranger, here = Person(), f"{path}/{encode('prc', price.pk)}"
    assert stranger.delete(here).status_code == 403
    assert grace.delete(f"{path}/{encode('prc', uuid7())}").status_code == 404
    other = make_model(publisher=grace.organization, name="Other")
    assert grace.delete(f"/api/models/{other.public_id}/prices/{encode('prc', price.pk)}").status_code == 404
    assert grace.delete(here).status_code == 204
    assert per_call(model) == ("0.001", None)
    assert AuditEvent.objects.filter(action="model.price_withdrawn").count() == 1
    soon = services.set_price(ai_model=model, terms=DEAR, effective_from=clock.now() + timedelta(seconds=59))
    for one in (soon, model.price):
        refused = grace.delete(f"{path}/{encode('prc', one.pk)}")
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "too_late")
    assert model.prices.count() == 2


def test_wrong_prices_are_refused_with_the_field(grace, model):
    path = f"/api/models/{model.public_id}/prices"

    def fault(**body):
        answer = grace.post(path, {"type": "paid", "rates": {"per_call": "1"}, **body})
        assert answer.status_code == 422, answer.content
        return answer.json()["errors"][0]["pointer"]

    assert fault(effective_from="2020-01-01T00:00:00Z") == "/effective_from"
    assert fault(effective_from="soon") == "/effective_from"
    assert fault(rates={}) == "/pricing/rates", "it is published"
    assert fault(type="free").endswith("/rates/per_call")
    assert fault(rates={"per_call": "-1"}).endswith("/rates/per_call")
    at = clock.now() + timedelta(days=1)
    for number in range(MAX_ANNOUNCED):
        services.set_price(ai_model=model, terms=DEAR, effective_from=at + timedelta(days=number))
    assert fault(effective_from=at.isoformat()) == "/effective_from"
    assert fault(effective_from=(at + timedelta(days=400)).isoformat()) == "/effective_from"
    assert Person().post(path, {"type": "free"}).status_code == 403
    assert Client().post(path, {"type": "free"}).status_code == 401


def test_a_draft_keeps_its_prices_to_itself_and_a_page_of_them_is_one_query(grace):
    draft = make_model(publisher=grace.organization)
    assert Client().get(f"/api/models/{draft.public_id}/prices").status_code == 404
    path = f"/api/models/{draft.public_id}/prices"

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert grace.get(path).status_code == 200
        return len(found)

    queries()  # the first one signs in
    few = queries()
    for number in range(30):
        services.set_price(ai_model=draft, terms=Terms(type="paid", per_call_nano=number + 1))
    assert queries() == few
    first = grace.get(f"{path}?limit=20").json()
    rest = grace.get(f"{path}?limit=20&cursor={first['next_cursor']}").json()
    states = [row["state"] for row in (*first["data"], *rest["data"])]
    assert states == ["in_force", *["past"] * 30]


def test_the_price_in_force_is_read_through_its_index(model):
    for number in range(50):
        services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=number + 1))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT r.* FROM marketplace_price_in_force(%s) r", [model.pk])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Scan using price_in_force" in plan
    assert "Function Scan" not in plan, "it is inlined where it is asked"
