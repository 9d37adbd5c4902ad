"""Calls by the name of a deployment: what they draw from, and what is called where its model fails."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiohttp import web
from django.db import connections
from django.test import override_settings

from accounts.models import Budget
from accounts.services import set_spend_limit
from apikeys.services import SpendLimit
from apikeys.tests.factories import make_key, make_person
from common.ids import decode, encode, uuid7
from gateway.models import Invocation
from gateway.services import change_deployment, check_books, create_deployment, delete_deployment, set_endpoint
from gateway.tests.asgi import Request, running_app
from gateway.tests.upstream import FakeUpstream, chunk, stream_of
from marketplace.models import AIModel
from marketplace.services import Terms, add_version
from marketplace.tests.factories import make_model

HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
CHAT = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
ANYTHING = {"input": {"type": "object"}, "output": {"type": "object"}}


@pytest.fixture(scope="module")
def second():
    """Another publisher's endpoint."""
    with FakeUpstream() as found:
        yield found


@pytest.fixture(scope="module")
def both(settings_of_module, upstream, second):
    ports = [f"127.0.0.1/32:{one.port}" for one in (upstream, second)]
    with override_settings(OUTBOUND_ALLOWED_NETWORKS=ports):
        yield


@pytest.fixture(scope="module")
def people(database, both, upstream, second):
    person = make_person()
    organization = person.personal_organization
    publisher = make_person().personal_organization
    models = {}
    for name, where, rate in (("First", upstream, 10**9), ("Second", second, 10**8)):
        per_token = Terms(type="paid", input_nano_per_million=rate, output_nano_per_million=rate)
        made = make_model(publisher=publisher, name=name, status="published", api_spec=ANYTHING, pricing=per_token)
        set_endpoint(ai_model=made, url=where.url, protocol="openai", timeout_seconds=5)
        models[name.lower()] = made
    return SimpleNamespace(person=person, organization=organization, secret=make_key(user=person)[1], **models)


class World:
    def __init__(self, people, upstream, second):
        self.people, self.upstream, self.second = people, upstream, second

    def deploy(self, **values):
        given = {"name": f"bot-{uuid7().hex}", **values}
        return create_deployment(
            organization=self.people.organization, **{"ai_model_id": self.people.first.pk, **given}
        )

    def chat(self, name, secret=None, **body):
        return Request("/v1/chat/completions", {"model": name, **HELLO, **body}, secret or self.people.secret)

    def run(self, scenario):
        async def main():
            async with running_app() as app:
                return await scenario(app)

        found = asyncio.run(main())
        connections.close_all()
        assert not Invocation.objects.filter(state="started").exists()
        assert not Budget.objects.exclude(held=0).exists()
        assert check_books() == []
        return found

    def ask(self, request):
        return self.run(request)

    def calls_of(self, deployment):
        return list(Invocation.objects.filter(deployment=deployment).order_by("id"))


@pytest.fixture
def world(people, upstream, second):
    for one in (upstream, second):
        one.answer, one.behave = CHAT, None
        one.seen.clear()
    return World(people, upstream, second)


async def broken(request):
    return web.Response(status=500)


# --- What a name stands for -------------------------------------------------------------------------------------------


def test_a_deployment_is_called_by_its_name_in_every_way(world, people):
    made = world.deploy(name="support-bot")
    path = "/api/models/support-bot/invoke"
    for request in (world.chat("support-bot"), Request(path, HELLO, people.secret)):
        answer = world.ask(request)
        assert (answer.status, answer.json) == (200, CHAT)
        assert answer.answered["x-model"] == f"{people.first.publisher.slug}/first"
        assert answer.answered["x-model-version"] == "1.0.0"
    assert json.loads(world.upstream.seen[0].body)["model"] == f"{people.first.publisher.slug}/first"
    assert [call.deployment_id for call in world.calls_of(made)] == [made.pk, made.pk]


def test_nobody_else_finds_it_and_a_deleted_one_is_found_by_nobody(world, people):
    made = world.deploy(name="mine-alone")
    _, other = make_key(user=make_person())
    found, missing = world.ask(world.chat("mine-alone", other)), world.ask(world.chat("none-at-all", other))
    assert (found.status, found.code) == (404, "model_not_found")
    assert {**found.json["error"], "request_id": ""} == {**missing.json["error"], "request_id": ""}
    change_deployment(deployment=made, changes={"status": "paused"})
    assert world.ask(world.chat("mine-alone")).code == "deployment_paused"
    delete_deployment(deployment=made)
    assert world.ask(world.chat("mine-alone")).code == "model_not_found"


def test_a_pinned_deployment_stays_where_it_is_when_the_model_moves_on(world, people, upstream):
    model = make_model(publisher=people.first.publisher, name="Moving", status="published", api_spec=ANYTHING)
    set_endpoint(ai_model=model, url=f"{upstream.url}/one", protocol="openai")
    world.deploy(name="pinned", ai_model_id=model.pk, version="1.0.0")
    world.deploy(name="current", ai_model_id=model.pk)
    add_version(ai_model=model, version="2.0.0", api_spec=ANYTHING)
    model.refresh_from_db()
    set_endpoint(ai_model=model, url=f"{upstream.url}/two", protocol="openai")
    answers = [world.ask(world.chat(name)) for name in ("pinned", "current")]
    assert [answer.answered["x-model-version"] for answer in answers] == ["1.0.0", "2.0.0"]
    assert [seen.path.split("/")[1] for seen in upstream.seen] == ["one", "two"]


def test_a_key_for_certain_models_calls_no_other_by_a_deployment(world, people):
    world.deploy(name="beyond", fallback_id=people.second.pk)
    _, secret = make_key(user=people.person, allowed_models=[people.second.pk])
    assert world.ask(world.chat("beyond", secret)).code == "model_not_allowed"
    _, secret = make_key(user=people.person, allowed_models=[people.first.pk])
    world.upstream.behave = broken
    answer = world.ask(world.chat("beyond", secret))
    assert (answer.code, len(world.second.seen)) == ("upstream_error", 0)


# --- What limits it ---------------------------------------------------------------------------------------------------


def test_a_call_is_held_in_every_budget_that_applies(world, people):
    made = world.deploy(name="nested", spend_limit=SpendLimit(10**9, "day"))
    _, secret = make_key(user=people.person, spend_limit=SpendLimit(10**9))
    limits = {"subject_kind": "organization", "subject_id": people.organization.pk, "time_zone": "UTC"}
    set_spend_limit(**limits, limit_nano=10**9, window="week")
    assert world.ask(world.chat("nested", secret)).status == 200
    [call] = world.calls_of(made)
    kinds = sorted((budget.subject_kind, budget.purpose) for budget in Budget.objects.filter(pk__in=call.budget_ids))
    assert kinds == [
        ("deployment", "spend_limit"),
        ("key", "spend_limit"),
        ("organization", "credit"),
        ("organization", "spend_limit"),
    ]
    spent = {budget.spent for budget in Budget.objects.filter(pk__in=call.budget_ids) if budget.purpose != "credit"}
    assert spent == {call.cost_nano} != {0}
    set_spend_limit(**limits, limit_nano=None)


def test_a_deployment_without_room_refuses_and_says_that_it_was_it(world, people):
    made = world.deploy(name="poor", spend_limit=SpendLimit(1, "day"))
    answer = world.ask(world.chat("poor"))
    assert (answer.status, answer.code) == (402, "spend_limit_reached")
    error = answer.json["error"]
    assert (error["limit_source"], error["limit"], error["used"]) == ("deployment", "0.000000001", "0.00")
    assert error["fix_url"].endswith(f"/api/deployments/{made.public_id}")
    assert error["resets_at"] > "2026"
    assert world.calls_of(made) == []
    assert world.upstream.seen == []
    assert world.ask(world.chat(f"{people.first.publisher.slug}/first")).status == 200, "by itself it is not limited"


def test_its_rate_limit_is_one_more_and_is_named(world):
    world.deploy(name="slow", rate_limit=2)
    statuses = []
    for _ in range(3):
        answer = world.ask(world.chat("slow"))
        statuses.append(answer.status)
    assert statuses == [200, 200, 429]
    assert answer.json["error"]["limit_source"] == "deployment"
    assert int(answer.answered["retry-after"]) >= 1
    assert '"deployment";q=2' in answer.answered["ratelimit-policy"]


def test_without_a_deployment_a_call_asks_the_limiter_once(world, people, monkeypatch):
    world.deploy(name="limited-once", rate_limit=100)
    asked = []
    from gateway.hotpath.call import Gateway

    original = Gateway.check_rate

    async def counted(self, buckets):
        asked.append([bucket.name for bucket in buckets])
        return await original(self, buckets)

    monkeypatch.setattr(Gateway, "check_rate", counted)
    world.ask(world.chat(f"{people.first.publisher.slug}/first"))
    assert asked == [["key", "organization"]]
    world.ask(world.chat("limited-once"))
    assert asked[1:] == [["key", "organization"], ["deployment"]]


# --- The fallback -----------------------------------------------------------------------------------------------------


async def reset(request):
    request.transport.abort()
    return web.Response()


async def empty(request):
    return web.json_response({})


async def busy(request):
    return web.Response(status=429)


@pytest.mark.parametrize("failing", [broken, reset, empty, busy])
@pytest.mark.parametrize("stream", [False, True])
def test_where_the_model_fails_the_fallback_is_called_at_its_own_price(world, people, failing, stream):
    made = world.deploy(fallback_id=people.second.pk, spend_limit=SpendLimit(10**9, "day"))
    world.upstream.behave = failing
    if stream:
        world.second.behave = stream_of(
            chunk("hi"), chunk(finish="stop", usage={"prompt_tokens": 3, "completion_tokens": 2})
        )
    answer = world.ask(world.chat(made.name, stream=stream))
    assert answer.status == 200, answer.received
    assert answer.answered["x-model"] == f"{people.second.publisher.slug}/second"
    failed, served = world.calls_of(made)
    assert (failed.ai_model_id, failed.cost_nano, failed.error_code != "") == (people.first.pk, 0, True)
    assert (served.ai_model_id, served.error_code, served.cost_nano) == (people.second.pk, "", 500)
    assert served.price_id == people.second.price.pk
    assert served.hold_nano * 10 == failed.hold_nano
    assert (failed.fallback_id, failed.fallback_of_id) == (served.pk, None)
    assert (served.fallback_id, served.fallback_of_id) == (None, failed.pk)
    assert decode("req", answer.answered["x-request-id"]) == failed.pk
    assert Budget.objects.get(subject_id=made.pk).spent == 500


def test_each_publisher_gets_the_id_of_its_own_call(world, people):
    """By which it confirms what was used."""
    made = world.deploy(fallback_id=people.second.pk)
    world.upstream.behave = broken
    assert world.ask(world.chat(made.name)).status == 200
    failed, answered = world.calls_of(made)
    (asked,) = world.second.seen
    assert asked.headers["x-agorai-request-id"] == encode("req", answered.id)
    assert {one.headers["x-agorai-request-id"] for one in world.upstream.seen} == {encode("req", failed.id)}


def test_a_fallback_that_fails_too_is_the_last(world, people):
    made = world.deploy(fallback_id=people.second.pk)
    world.upstream.behave = broken
    world.second.behave = busy
    answer = world.ask(world.chat(made.name))
    assert (answer.status, answer.code) == (503, "upstream_busy")
    assert [call.cost_nano for call in world.calls_of(made)] == [0, 0]


@pytest.mark.parametrize("status", [400, 422])
def test_an_input_that_was_refused_is_not_sent_to_another(world, people, status):
    made = world.deploy(fallback_id=people.second.pk)

    async def refuse(request):
        return web.json_response({"error": "no"}, status=status)

    world.upstream.behave = refuse
    assert world.ask(world.chat(made.name)).code == "upstream_rejected"
    assert world.second.seen == []
    assert len(world.calls_of(made)) == 1


def test_once_something_was_delivered_there_is_no_second(world, people):
    made = world.deploy(fallback_id=people.second.pk)
    world.upstream.behave = stream_of(chunk("a"), chunk("b"), cut=True)
    answer = world.ask(world.chat(made.name, stream=True))
    assert answer.answered["x-model"] == f"{people.first.publisher.slug}/first"
    assert b"upstream_error" in answer.received
    assert world.second.seen == []


def test_a_model_that_cannot_be_called_is_stood_in_for_at_once(world, people):
    made = world.deploy(fallback_id=people.second.pk)
    alone = world.deploy()
    AIModel.objects.filter(pk=people.first.pk).update(is_callable=False)
    try:
        answer = world.ask(world.chat(made.name))
        assert answer.answered["x-model"] == f"{people.second.publisher.slug}/second"
        [call] = world.calls_of(made)
        assert (call.fallback_of_id, call.pk) == (None, decode("req", answer.answered["x-request-id"]))
        assert world.ask(world.chat(alone.name)).code == "model_not_callable"
        AIModel.objects.filter(pk=people.first.pk).update(is_callable=True, status="suspended")
        assert world.ask(world.chat(alone.name)).code == "model_not_callable", "its own people are told"
    finally:
        AIModel.objects.filter(pk=people.first.pk).update(is_callable=True, status="published")


def test_a_receipt_names_the_deployment_and_the_other_attempt(world, people, client):
    made = world.deploy(name="told-of", fallback_id=people.second.pk)
    world.upstream.behave = broken
    world.ask(world.chat("told-of"))
    failed, served = (call.public_id for call in world.calls_of(made))
    client.force_login(people.person)
    for id, fallback, instead_of in ((failed, served, None), (served, None, failed)):
        receipt = client.get(f"/api/requests/{id}").json()
        assert receipt["deployment"] == {"id": made.public_id, "name": "told-of"}
        assert (receipt["fallback_id"], receipt["fallback_of"]) == (fallback, instead_of)


@pytest.mark.parametrize("stream", [False, True])
def test_under_an_idempotency_key_the_fallbacks_answer_is_the_one_that_is_repeated(world, people, stream):
    made = world.deploy(fallback_id=people.second.pk)
    world.upstream.behave = broken
    if stream:
        world.second.behave = stream_of(chunk("hi"), chunk(finish="stop"))

    async def scenario(app):
        requests = [world.chat(made.name, stream=stream) for _ in range(2)]
        for request in requests:
            request.headers.append((b"idempotency-key", f"{made.name}-key".encode()))
            await request(app)
        return requests

    first, again = world.run(scenario)
    assert (first.status, again.status) == (200, 200), again.received
    assert again.received == first.received
    assert again.answered["idempotency-replayed"] == "true"
    assert again.answered["x-model"] == first.answered["x-model"] == f"{people.second.publisher.slug}/second"
    assert len(world.calls_of(made)) == 2
