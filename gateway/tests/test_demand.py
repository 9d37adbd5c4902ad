"""Who uses a model, and what a loop of calls is worth."""

import pytest
from django.db import connection
from django.test import Client

from billing.services import measure_demand
from gateway.models import Rule
from gateway.tests.factories import make_call
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db


def call(ai_model, organization, *, times=1, **ending):
    for _ in range(times):
        make_call(ai_model, organization=organization, rule=Rule.USAGE_REPORTED, **ending)


def test_organizations_count_not_calls():
    loved, looped, own = (make_model(status="published") for _ in range(3))
    for _ in range(3):
        call(loved, make_organization())
    call(looped, make_organization(), times=20)
    call(own, own.publisher, times=20)
    call(own, make_organization(), mode="test")
    assert measure_demand() == 2
    for model in (loved, looped, own):
        model.refresh_from_db()
    assert [loved.demand, looped.demand, own.demand] == [3000, 1000, 0]
    shown = Client().get("/api/models?sort=popular").json()["data"]
    assert [row["id"] for row in shown] == [model.public_id for model in (loved, looped, own)]
    assert measure_demand() == 0, "what is known is not written again"


def test_an_organization_weighs_half_after_thirty_days_and_nothing_after_half_a_year():
    model = make_model(status="published")
    call(model, make_organization())
    for days, demand in ((0, 1000), (30, 500), (60, 250), (181, 0)):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [f"{days} days"])
        measure_demand()
        model.refresh_from_db()
        assert model.demand == pytest.approx(demand, abs=1)
