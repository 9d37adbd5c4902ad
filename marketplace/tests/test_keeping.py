"""What the catalogue keeps in Redis: never old after a change, never somebody else's draft, made once in a stampede."""

import threading
import time
from datetime import timedelta
from itertools import permutations

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization
from common import cache, clock
from marketplace import services
from marketplace.api import base
from marketplace.models import AIModel
from marketplace.search import Query, engine
from marketplace.search.kept import SHELF
from marketplace.services import Measured, Tally, Terms
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model, make_organization
from marketplace.tests.test_api import DRAFT, Person

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/api/models?facets=true"


@pytest.fixture(autouse=True)
def _empty_shelf():
    SHELF.forget_all()
    SHELF._away_until = 0.0


@pytest.fixture
def model():
    return make_model(status="published", name="Aurora")


def read(path, client=None):
    answer = (client or Client()).get(path)
    assert answer.status_code == 200
    return answer.json()


def both(model):
    """The model as its own address and as the list show it, which must be the same."""
    one = read(f"/api/models/{model.public_id}")
    listed = [row for row in read(LIST)["data"] if row["id"] == model.public_id]
    assert listed == [one]
    assert read(f"/api/models/{model.publisher.slug}:{model.slug}") == one
    return one


def facet(name):
    return {one["value"]: one["count"] for one in read(LIST)["facets"][name]}


def test_what_was_read_is_read_from_redis_the_second_time(model):
    for path in (LIST, f"/api/models/{model.public_id}", "/api/models?category=text-classification&sort=price"):
        first = Client().get(path)
        with CaptureQueriesContext(connection) as queries:
            second = Client().get(path)
        assert (second.content, second["ETag"]) == (first.content, first["ETag"])
        about = [query["sql"] for query in queries if "marketplace_" in query["sql"]]
        assert about == [], "nothing of the catalogue was asked of the database"


CHANGES = {
    "its text": lambda model: services.update_model(
        ai_model=model,
        name="Borealis",
        description="New.",
        version="1.0.0",
        category="chat",
        api_spec={"input": TEXT_IN, "output": LABEL_OUT},
        pricing=Terms(type="free"),
    ),
    "its price": lambda model: services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=5)),
    "a version": lambda model: services.add_version(
        ai_model=model, version="1.1.0", api_spec={"input": TEXT_IN, "output": TEXT_IN}
    ),
    "deprecation": lambda model: services.deprecate(ai_model=model),
    "whether it can be called": lambda model: services.record_callable(ai_model_id=model.pk, callable=True),
    "deployments": lambda model: services.apply_deployments(ai_model_id=model.pk, change=1),
    "ratings": lambda model: AIModel.objects.filter(pk=model.pk).update(rating_sum=5, rating_count=1),
    "a failing check": lambda model: services.record_check(
        ai_model_id=model.pk, passed=False, is_repeated=True, failed_steps=["answers"], at=clock.now()
    ),
    "measured figures": lambda model: services.apply_measurements(
        measured=[Measured(model.pk, requests=90, all=Tally(90, 90), figures={"latency_p50_ms": 7})],
        at=clock.now(),
        days_from=clock.now().date(),
    ),
    "the name of its publisher": lambda model: rename(model.publisher),
}


def rename(organization: Organization) -> None:
    organization.name = "Somebody else"
    organization.save(update_fields=["name"])


def test_whoever_reads_next_reads_what_was_changed():
    for change, make in CHANGES.items():
        model = make_model(status="published", name="Aurora")
        before = both(model)
        make(model)
        after = both(model)
        assert after != before, change
        SHELF.forget_all()
        assert both(model) == after, f"{change}: all that was to be forgotten was"


def test_lists_and_facets_follow(model):
    assert facet("category") == {"text-classification": 1}
    other = make_model(status="published", category="chat", pricing=Terms(type="paid", per_call_nano=1))
    assert facet("category") == {"chat": 1, "text-classification": 1}
    assert facet("pricing") == {"free": 1, "paid": 1}
    services.set_price(ai_model=other, terms=Terms(type="free"))
    assert facet("pricing") == {"free": 2}
    services.suspend(ai_model=other)
    assert facet("category") == {"text-classification": 1}
    assert Client().get(f"/api/models/{other.public_id}").status_code == 404


def test_what_came_to_nothing_is_not_forgotten_and_not_shown(model):
    before = both(model)
    with transaction.atomic():
        services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=5))
        assert read(f"/api/models/{model.public_id}")["pricing"]["type"] == "paid", "inside, it is"
        transaction.set_rollback(True)
    assert both(model) == before


def test_an_announced_price_is_shown_the_moment_it_is_in_force(model):
    at = clock.now() + timedelta(seconds=1.5)
    services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=5), effective_from=at)
    assert read(f"/api/models/{model.public_id}")["pricing"]["type"] == "free"
    while clock.now() <= at:
        time.sleep(0.05)
    assert read(f"/api/models/{model.public_id}")["pricing"]["type"] == "paid"


def test_no_draft_is_shown_to_others_whoever_read_first():
    own, stranger = Person(), Person()
    draft = make_model(publisher=own.organization, name="Secret")
    make_model(publisher=own.organization, status="published", name="Open")
    clients = {"its own": own.client, "a stranger": stranger.client, "nobody": Client()}
    paths = (
        f"/api/models/{draft.public_id}",
        f"/api/models/{own.organization.slug}:{draft.slug}",
        f"/api/models?publisher={own.organization.slug}&facets=true",
        "/api/models?facets=true",
        f"/models?publisher={own.organization.slug}",
    )
    for order in permutations(clients):
        SHELF.forget_all()
        for name in (*order, *order):
            for path in paths:
                shows = b"Secret" in clients[name].get(path).content
                assert shows == (name == "its own" and path != "/api/models?facets=true"), (order, name, path)


def test_a_list_that_could_not_be_forgotten_shows_nothing_that_was_withdrawn(model, monkeypatch):
    """Redis was away when it was suspended: the ids are still kept, and what they stand for is asked anew."""
    assert read("/api/models")["data"]
    monkeypatch.setattr(SHELF, "forget", lambda tags: None)
    services.suspend(ai_model=model)
    SHELF._renew([SHELF._tag(base.tag_of(model.pk))])
    found = engine().find(Query(), limit=20)
    assert found.ids == [model.pk]
    assert read("/api/models")["data"] == []
    assert b"Aurora" not in Client().get("/models").content


@pytest.mark.parametrize("path", ["/api/models?facets=true", "/api/models/{id}"])
def test_of_many_who_read_it_at_once_one_asks_the_database(model, monkeypatch, path):
    path = path.format(id=model.public_id)
    asked, began, answers = [], threading.Barrier(30), []
    in_order = type(AIModel.objects.all()).in_order

    def slow(rows, ids):
        asked.append(ids)
        time.sleep(0.3)
        return in_order(rows, ids)

    monkeypatch.setattr(type(AIModel.objects.all()), "in_order", slow)

    def ask():
        try:
            began.wait()
            answers.append(Client().get(path))
        finally:
            connections.close_all()

    askers = [threading.Thread(target=ask) for _ in range(30)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(asked) == 1


def test_without_redis_everything_is_read_anew(model, settings):
    both(model)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    cache._redis.cache_clear()
    try:
        services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=5))
        SHELF._away_until = 0.0
        assert both(model)["pricing"]["type"] == "paid"
    finally:
        cache._redis.cache_clear()


def test_the_etag_of_what_is_replaced_goes_before_the_one_of_the_rest(model):
    first = Client().get(f"/api/models/{model.public_id}")["ETag"].strip('"').split("-")
    services.apply_deployments(ai_model_id=model.pk, change=1)
    second = Client().get(f"/api/models/{model.public_id}")["ETag"].strip('"').split("-")
    services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=5))
    third = Client().get(f"/api/models/{model.public_id}")["ETag"].strip('"').split("-")
    assert first[0] == second[0] != third[0]
    assert len({first[1], second[1], third[1]}) == 3


def test_a_listing_is_replaced_only_as_long_as_it_is_what_the_client_has_read():
    grace = Person()
    model = make_model(publisher=grace.organization, status="published")
    path = f"/api/models/{model.public_id}"
    seen = grace.get(path)["ETag"]
    services.apply_deployments(ai_model_id=model.pk, change=1)  # no conflict: PUT does not replace it
    first = grace.put(path, DRAFT | {"version": "1.1.0", "name": "First"}, **{"If-Match": seen})
    assert first.status_code == 200
    assert first["ETag"] == grace.get(path)["ETag"]
    for late in (seen, f"W/{seen}", f'"other", {seen}', '"other"', "nonsense", ""):
        answer = grace.put(path, DRAFT | {"version": "1.2.0", "name": "Second"}, **{"If-Match": late})
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
        assert answer["ETag"] == first["ETag"]
    assert grace.get(path).json()["name"] == "First"
    for number, right in enumerate(("{}", "W/{}", '"other", {}', "*")):
        given = right.format(grace.get(path)["ETag"])
        answer = grace.put(path, DRAFT | {"version": "1.1.0", "name": f"Third {number}"}, **{"If-Match": given})
        assert answer.status_code == 200


def test_a_listing_of_others_says_nothing_about_itself():
    stranger, model = Person(), make_model(publisher=make_organization())
    answer = stranger.put(f"/api/models/{model.public_id}", DRAFT, **{"If-Match": '"other"'})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
