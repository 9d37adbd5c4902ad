"""The demonstration: what is in it, and that filling it twice changes nothing."""

import json
import stat
import time

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from apikeys import services as apikeys
from apikeys.models import APIKey
from common import clock
from common.ids import uuid7
from config import demo
from config.roles import as_owner
from config.var import Var
from gateway.models import Endpoint, Invocation, Rule
from gateway.services import check_books, measure_models
from marketplace.models import MIN_SAMPLES, AIModel, Measurement
from marketplace.search import Query, engine
from marketplace.services.schemas import validator_for, violations
from marketplace.tests.factories import make_model, make_organization

pytestmark = pytest.mark.django_db(transaction=True)  # past calls are written on the owner's connection

UPSTREAM = "http://127.0.0.1:8901"


@pytest.fixture
def var(tmp_path, settings):
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32:8901", "127.0.0.1/32:8902"]
    settings.OUTBOUND_ALLOW_HTTP = True
    return Var(tmp_path / "var")


def rows():
    models = AIModel.objects.order_by("id").values_list("id", "slug", "status", "is_callable", "updated_at")
    return {
        "users": list(User.objects.order_by("id").values_list("id", "password")),
        "models": list(models),
        "keys": list(APIKey.objects.order_by("id").values_list("id", "digest")),
        "calls": Invocation.objects.count(),
    }


def test_the_demo(var, monkeypatch):
    monkeypatch.setenv("AGORAI_VAR", str(var.path))
    monkeypatch.setenv("DEMO_UPSTREAM_URL", UPSTREAM)
    call_command("seed_demo", verbosity=0)

    noted = json.loads(var.demo.read_text())
    assert stat.S_IMODE(var.demo.stat().st_mode) == 0o600
    assert set(noted) == {"url", "users", "api_key"}
    assert set(noted["users"]) == {"consumer", "developer", "staff"}
    for role, person in noted["users"].items():
        user = User.objects.get(email=person["email"])
        assert user.check_password(person["password"])
        assert user.role == role
        assert user.emailaddress_set.get().verified
    key = apikeys.verify_key(noted["api_key"], address="", at=clock.now())
    assert key.user.email == noted["users"]["consumer"]["email"]

    listed = Client().get("/api/models?limit=100").json()["data"]
    assert len(listed) == 12
    assert [model["slug"] for model in listed[:4]] == ["demo/sentiment", "demo/language-id", "demo/eliza", "demo/embed"]
    assert [model["callable"] for model in listed] == [True] * 4 + [False] * 8
    prices = {model["slug"]: model["pricing"] for model in listed}
    assert prices["demo/sentiment"]["type"] == "free"
    assert prices["demo/language-id"]["rates"]["per_call"] == "0.001"
    assert prices["demo/eliza"]["rates"]["input_tokens_per_million"] == "0.40"
    assert prices["demo/eliza"]["rates"]["output_tokens_per_million"] == "1.20"
    assert prices["demo/embed"]["rates"]["input_tokens_per_million"] == "0.02"
    assert {price["rates"]["included_calls"] for price in prices.values()} == {0}
    assert AIModel.objects.filter(is_demo=False).count() == 0
    assert {endpoint.url for endpoint in Endpoint.objects.all()} == {
        f"{UPSTREAM}/sentiment",
        f"{UPSTREAM}/language",
        f"{UPSTREAM}/v1",
    }
    found = engine().find(Query(text="sentiment"), limit=1)
    assert AIModel.objects.get(pk=found.ids[0]).slug == "sentiment"
    for slug in ("sentiment", "language-id"):
        version = AIModel.objects.get(slug=slug).current_version
        validator = validator_for(version.id, "input", version.input_schema)
        assert violations(validator, {"text": "Hello"}) == []
        assert [fault["pointer"] for fault in violations(validator, {})] == ["/text"]

    calls = Invocation.objects.all()
    assert 2000 < calls.count() < 5000
    assert set(calls.values_list("organization_id", "is_demo", "rule", "state")) == {
        (key.organization_id, True, "demo", "final")
    }
    oldest, newest = calls.earliest("id"), calls.latest("id")
    assert 28 <= (newest.started_at - oldest.started_at).days <= 30
    assert newest.started_at <= clock.now()
    assert check_books() == []

    eliza = AIModel.objects.get(slug="eliza")
    assert (eliza.license, eliza.context_tokens) == ("Apache-2.0", 28_000)
    assert all(getattr(eliza.measurement, name) is not None for name in Measurement.FIGURES if name[:6] != "recent")
    language = AIModel.objects.get(slug="language-id").measurement
    assert language.days[-13] == "bad", "there is something to find"
    assert 9_500 < language.uptime_bp < 10_000
    assert Measurement.objects.count() == 4, "of models that nobody can call there are no figures"

    before = rows()
    began = time.monotonic()
    call_command("seed_demo", verbosity=0)
    assert time.monotonic() - began < 2
    assert rows() == before
    assert json.loads(var.demo.read_text()) == noted

    demo.seed(var=var, upstream_url="http://127.0.0.1:8902", number=1)
    assert {endpoint.url.rpartition(":")[2][:4] for endpoint in Endpoint.objects.all()} == {"8902"}
    assert AIModel.objects.filter(is_callable=True).count() == 4

    var.demo.unlink()
    demo.seed(var=var, upstream_url="http://127.0.0.1:8902", number=1)
    again = json.loads(var.demo.read_text())
    for person in again["users"].values():
        assert User.objects.get(email=person["email"]).check_password(person["password"])
    apikeys.verify_key(again["api_key"], address="", at=clock.now())
    assert User.objects.count() == len(before["users"])


def test_without_an_upstream_nothing_can_be_called(var):
    demo.seed(var=var, upstream_url="", number=1)
    assert AIModel.objects.published().count() == 12
    assert not AIModel.objects.filter(is_callable=True).exists()


def test_made_up_calls_count_for_the_demo_alone():
    consumer = make_organization()
    demo, real = make_model(is_demo=True, status="published"), make_model(status="published")
    at = clock.now()
    calls = [
        Invocation(
            id=uuid7(),
            state="final",
            organization=consumer,
            publisher_id=ai_model.publisher_id,
            ai_model=ai_model,
            version_id=ai_model.current_version_id,
            price=ai_model.price,
            kind="invoke",
            mode="live",
            is_demo=True,
            hold_nano=0,
            started_at=at,
            beat_at=at,
            settled_at=at,
            rule=Rule.DEMO,
            http_status=200,
            latency_ms=20,
        )
        for ai_model in (demo, real)
        for _ in range(MIN_SAMPLES)
    ]
    with as_owner():
        Invocation.objects.bulk_create(calls)
    measure_models()
    assert Measurement.objects.get().ai_model == demo
