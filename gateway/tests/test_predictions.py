"""Long work: accepted with its hold, made when there is room, canceled, late, lost with its process, forgotten."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from django.db import connection, connections
from django.test import Client, override_settings
from standardwebhooks import Webhook

from accounts.models import Budget
from apikeys.services import SpendLimit, revoke_key
from apikeys.tests.factories import make_key, make_person
from common.ids import decode, first_uuid
from gateway.hotpath import call as call_module
from gateway.hotpath.call import Gateway
from gateway.hotpath.orm import run_in_django
from gateway.hotpath.predictions import seconds_to_wait
from gateway.models import Invocation, Prediction
from gateway.services import (
    check_books,
    count_retired_predictions,
    prune_predictions,
    reseal_predictions,
    set_endpoint,
    settle_orphans,
    sweep_predictions,
)
from gateway.services.prediction_content import MAX_EVENT_BYTES
from gateway.services.predictions import (
    begin_prediction,
    claim_predictions,
    finish_prediction,
    read_prediction,
    renew_predictions,
)
from gateway.tests.asgi import Request, running_app
from marketplace.services import Terms
from marketplace.tests.factories import make_model
from notifications.models import WebhookDelivery
from notifications.services import deliver_webhooks, shown_secret, webhook_secret
from notifications.tests.receiver import Receiver

PRICE = 1_000_000


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    """A key with credit, a model priced per call and a chat, both on the upstream of the test."""
    person = make_person()
    organization = person.personal_organization
    per_call = Terms(type="paid", per_call_nano=PRICE)
    plain = make_model(publisher=organization, name="Plain", status="published", pricing=per_call)
    set_endpoint(ai_model=plain, url=upstream.url, protocol="json", timeout_seconds=30)
    anything = {"input": {"type": "object"}, "output": {"type": "object"}}
    chat = make_model(publisher=organization, name="Chat", status="published", api_spec=anything, pricing=per_call)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    return SimpleNamespace(person=person, organization=organization, plain=plain, chat=chat)


class World:
    """The people, and what one test does with them. Each test has a key of its own."""

    def __init__(self, people: SimpleNamespace) -> None:
        self.people = people
        self.key, self.secret = make_key(user=people.person)
        self.began = first_uuid(datetime.now(UTC))

    def post(self, *, prefer: str = "", secret: str = "", **body: Any) -> Request:
        model = f"{self.people.organization.slug}/plain"
        headers = [(b"prefer", prefer.encode())] if prefer else []
        body = {"model": model, "input": {"text": "x"}, **body}
        return Request("/v1/predictions", body, secret or self.secret, headers=headers)

    async def ask(self, method: str, path: str, secret: str = "") -> Any:
        """Of Django, as whoever has the key."""
        client = Client(headers={"authorization": f"Bearer {secret or self.secret}"})
        return await run_in_django(lambda: getattr(client, method)(path))

    async def read(self, id: str) -> dict[str, Any]:
        return (await self.ask("get", f"/v1/predictions/{id}")).json()

    async def until_ended(self, id: str, seconds: float = 20) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while (found := await self.read(id))["completed_at"] is None:
                await asyncio.sleep(0.05)
        return found

    def run(self, scenario: Callable[..., Any]) -> Any:
        """Run `scenario(app)` in an application of its own, and look at the books afterwards."""

        async def main() -> Any:
            async with running_app() as app:
                return await scenario(app)

        try:
            return asyncio.run(main())
        finally:
            connections.close_all()

    @property
    def calls(self) -> Any:
        return Invocation.objects.filter(id__gte=self.began).order_by("id")

    @property
    def rules(self) -> list[str]:
        return [call.rule for call in self.calls]

    @property
    def row(self) -> Prediction:
        return Prediction.objects.get(pk__gte=self.began)


@pytest.fixture
def world(people, upstream) -> Iterator[World]:
    upstream.answer, upstream.behave = {"label": "ok"}, None
    upstream.seen.clear()
    yield World(people)
    in_hours(0)
    assert not Prediction.objects.live().exists()
    assert not Invocation.objects.filter(state="started").exists()
    assert not Budget.objects.exclude(held=0).exists()
    assert check_books() == []


def in_hours(hours: float) -> None:
    """Let this connection see a later time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [f"{hours} hours"])


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextmanager
def nobody_takes_up() -> Iterator[None]:
    with override_settings(PREDICTIONS_RUNNING_PER_ORGANIZATION=0):
        yield


def slow(seconds: float, gone: list[bool] | None = None) -> Any:
    """`gone` says when the gateway has hung up."""

    async def behave(request: web.Request) -> web.Response:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.02)
            if request.transport is None or request.transport.is_closing():
                if gone is not None:
                    gone.append(True)
                break
        return web.json_response({"label": "slow"})

    return behave


# --- From the question to the answer ----------------------------------------------------------------------------------


def test_what_is_accepted_is_made_and_can_be_read_with_its_receipt(world, upstream):
    async def scenario(app):
        request = await world.post()(app)
        assert (request.status, request.json["status"]) == (202, "queued")
        id = request.json["id"]
        assert request.answered["location"].endswith(f"/v1/predictions/{id}")
        found = await world.until_ended(id)
        receipt = await world.ask("get", f"/v1/requests/{found['request_id']}")
        listed = (await world.ask("get", "/v1/predictions?status=succeeded&limit=1")).json()
        return request, found, receipt.json(), listed

    request, found, receipt, listed = world.run(scenario)
    assert (found["status"], found["output"], found["error"]) == ("succeeded", {"label": "ok"}, None)
    assert (found["input"], found["cost"]["amount"]) == ({"text": "x"}, "0.001")
    assert request.answered["x-request-id"] == found["request_id"] == upstream.seen[0].headers["x-agorai-request-id"]
    assert (receipt["state"], receipt["rule"]["code"], receipt["cost"]["amount"]) == ("final", "per_call", "0.001")
    assert listed["data"][0]["id"] == found["id"]
    assert "output" not in listed["data"][0]
    row = world.row
    assert b"label" not in bytes(row.sealed_output)
    assert len(upstream.seen) == 1


def test_whoever_prefers_to_wait_gets_the_end_if_it_comes_in_time(world, upstream):
    async def scenario(app):
        quick = await world.post(prefer="wait")(app)
        upstream.behave = slow(2.5)
        began = time.monotonic()
        late = await world.post(prefer="wait=1")(app)
        return quick, late, time.monotonic() - began, await world.until_ended(late.json["id"])

    quick, late, waited, ended = world.run(scenario)
    assert (quick.status, quick.json["status"], quick.json["output"]) == (201, "succeeded", {"label": "ok"})
    assert (late.status, late.json["output"], late.answered["preference-applied"]) == (202, None, "wait=1")
    assert 0.9 < waited < 2.4
    assert (ended["status"], ended["output"]) == ("succeeded", {"label": "slow"})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("wait", 60), ("wait=7", 7), ("wait=999", 60), ('respond-async, wait="5"', 5), ("", None), ("awaits=3", None)],
)
def test_the_header_prefer(header, seconds):
    assert seconds_to_wait(header) == seconds


def test_a_chat_is_made_without_a_stream(world, upstream):
    upstream.answer = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 1}}
    chat = {"model": f"{world.people.organization.slug}/chat", "input": {"messages": []}}

    async def scenario(app):
        refused = await world.post(**{**chat, "input": {"messages": [], "stream": True}})(app)
        return refused, await world.post(prefer="wait", **chat)(app)

    refused, made = world.run(scenario)
    assert (refused.status, refused.json["error"]["param"]) == (422, "input.stream")
    assert (made.status, made.json["output"]["choices"][0]["message"]["content"]) == (201, "hi")
    assert upstream.seen[0].path == "/chat/completions"


def test_what_cannot_be_is_refused_at_once_and_costs_nothing(world, upstream):
    async def scenario(app):
        return [
            await world.post(**body)(app)
            for body in (
                {"input": {"text": 1}},
                {"input": "x"},
                {"inptu": {}},
                {"webhook": "http://127.0.0.1:1/hook"},
                {"webhook_events": ["completed"]},
                {"deadline_seconds": 0},
                {"model": "nobody/nothing"},
            )
        ]

    answers = world.run(scenario)
    pointers = [(one.json["error"].get("errors") or [{}])[0].get("pointer") for one in answers]
    assert [one.status for one in answers] == [422, 422, 422, 422, 422, 422, 404]
    assert pointers == ["/input/text", "/input", "/inptu", "/webhook", "/webhook_events", "/deadline_seconds", None]
    assert not world.calls.exists()
    assert upstream.seen == []


def test_a_failure_of_the_model_is_told_and_costs_nothing(world, upstream):
    async def behave(request: web.Request) -> web.Response:
        return web.json_response({"detail": "no"}, status=500)

    upstream.behave = behave
    failed = world.run(lambda app: world.post(prefer="wait")(app))
    assert (failed.status, failed.json["status"], failed.json["error_code"]) == (201, "failed", "upstream_error")
    assert failed.json["error"]["code"] == "upstream_error"
    assert (world.rules, failed.json["cost"]["amount"]) == (["upstream_error"], "0.00")


# --- Money and room ---------------------------------------------------------------------------------------------------


def test_what_waits_holds_what_it_may_cost_so_the_next_one_is_refused_at_once(world):
    _key, secret = make_key(user=world.people.person, spend_limit=SpendLimit(PRICE + PRICE // 2))

    async def scenario(app):
        with nobody_takes_up():
            first, second = [await world.post(secret=secret)(app) for _ in range(2)]
            path = f"/v1/predictions/{first.json['id']}/cancel"
            await world.ask("post", path, secret)
            third = await world.post(secret=secret)(app)  # what was held is free again
            await world.ask("post", f"/v1/predictions/{third.json['id']}/cancel", secret)
        return first, second, third

    first, second, third = world.run(scenario)
    assert [one.status for one in (first, second, third)] == [202, 402, 202]
    assert second.json["error"]["limit_source"] == "key"
    assert world.rules == ["not_sent", "not_sent"]


def test_an_organization_has_so_many_in_line_and_so_many_at_a_time(world, upstream):
    at_once, most, may_end = [0], [0], threading.Event()

    async def behave(request: web.Request) -> web.Response:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        await asyncio.to_thread(may_end.wait, 20)
        await asyncio.sleep(0.1)
        at_once[0] -= 1
        return web.json_response({"label": "ok"})

    upstream.behave = behave

    async def scenario(app):
        with override_settings(PREDICTIONS_RUNNING_PER_ORGANIZATION=2, PREDICTIONS_PER_ORGANIZATION=5):
            made = [await world.post()(app) for _ in range(6)]
            may_end.set()
            for one in made[:5]:
                await world.until_ended(one.json["id"])
        return made

    made = world.run(scenario)
    assert [one.status for one in made] == [202] * 5 + [429]
    assert (made[5].code, made[5].answered["retry-after"]) == ("predictions_full", "10")
    assert most[0] == 2
    assert world.rules == ["per_call"] * 5


def test_two_processes_make_each_once(world, upstream):
    upstream.behave = slow(0.05)

    async def scenario(app):
        other = Gateway()
        await other.start()
        try:
            made = [await world.post()(app) for _ in range(20)]
            ended = [await world.until_ended(one.json["id"]) for one in made]
        finally:
            await other.close()
        return ended

    ended = world.run(scenario)
    assert {one["status"] for one in ended} == {"succeeded"}
    assert sorted(seen.headers["x-agorai-request-id"] for seen in upstream.seen) == sorted(
        one["request_id"] for one in ended
    )


# --- Ends before the end ----------------------------------------------------------------------------------------------


def test_one_in_line_is_canceled_at_once(world, upstream):
    async def scenario(app):
        with nobody_takes_up():
            id = (await world.post()(app)).json["id"]
            canceled = await world.ask("post", f"/v1/predictions/{id}/cancel")
            again = await world.ask("post", f"/v1/predictions/{id}/cancel")
        return canceled, again

    canceled, again = world.run(scenario)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert again.json() == canceled.json()
    assert (world.rules, upstream.seen) == (["not_sent"], [])


def test_one_that_runs_is_hung_up_on_when_it_is_canceled(world, upstream):
    gone: list[bool] = []
    upstream.behave = slow(20, gone)

    async def scenario(app):
        id = (await world.post()(app)).json["id"]
        await until(lambda: upstream.seen)
        asked = await world.ask("post", f"/v1/predictions/{id}/cancel")
        ended = await world.until_ended(id)
        await until(lambda: gone)
        return asked, ended, await world.ask("post", f"/v1/predictions/{id}/cancel")

    asked, ended, again = world.run(scenario)
    assert (asked.status_code, asked.json()["status"]) == (200, "running")
    assert (ended["status"], ended["error_code"], ended["cost"]["amount"]) == (
        "canceled",
        "prediction_canceled",
        "0.00",
    )
    assert again.status_code == 200
    assert world.rules == ["cancelled"]


def test_what_has_ended_cannot_be_canceled(world):
    async def scenario(app):
        id = (await world.post(prefer="wait")(app)).json["id"]
        return await world.ask("post", f"/v1/predictions/{id}/cancel")

    answer = world.run(scenario)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "prediction_ended")


def test_time_is_up_while_it_runs_and_while_it_waits(world, upstream):
    upstream.behave = slow(20)

    async def scenario(app):
        ran = await world.post(deadline_seconds=1, prefer="wait=10")(app)
        with nobody_takes_up():
            waited = await world.post(deadline_seconds=1)(app)
            await asyncio.sleep(1.1)
            assert await run_in_django(sweep_predictions) == 1
            assert await run_in_django(sweep_predictions) == 0
        return ran, await world.read(waited.json["id"])

    ran, waited = world.run(scenario)
    assert (ran.json["status"], ran.json["error_code"]) == ("failed", "prediction_late")
    assert (waited["status"], waited["error_code"]) == ("failed", "prediction_late")
    assert world.rules == ["upstream_timeout", "not_sent"]


def test_what_a_key_has_in_line_ends_with_the_key(world, upstream):
    async def scenario(app):
        with nobody_takes_up():
            await world.post()(app)
        await run_in_django(lambda: revoke_key(key=world.key))
        await until_ended_row(world)

    world.run(scenario)
    assert (world.row.status, world.row.error_code) == ("failed", "key_revoked")
    assert (world.rules, upstream.seen) == (["not_sent"], [])


async def until_ended_row(world: World) -> None:
    async with asyncio.timeout(20):
        while await run_in_django(lambda: Prediction.objects.live().exists()):
            await asyncio.sleep(0.05)


# --- Processes that end -----------------------------------------------------------------------------------------------


def test_a_process_that_stops_ends_what_it_has_sent_and_leaves_the_rest_in_line(world, upstream, monkeypatch):
    monkeypatch.setattr(call_module, "DRAIN_SECONDS", 0.2)
    upstream.behave = slow(20)

    async def scenario(app):
        with override_settings(PREDICTIONS_RUNNING_PER_ORGANIZATION=1):
            sent, waits = [(await world.post()(app)).json["id"] for _ in range(2)]
            await until(lambda: upstream.seen)
        return sent, waits

    sent, waits = (decode("pred", id) for id in world.run(scenario))
    assert Prediction.objects.get(pk=sent).error_code == "gateway_stopped"
    assert Prediction.objects.get(pk=waits).status == "queued"
    upstream.behave = None
    world.run(lambda app: until_ended_row(world))
    assert Prediction.objects.get(pk=waits).status == "succeeded"
    assert world.rules == ["orphan_void", "per_call"]
    assert len(upstream.seen) == 2


def queue(world: World) -> UUID:
    async def scenario(app):
        return (await world.post()(app)).json["id"]

    with nobody_takes_up():
        return decode("pred", world.run(scenario))


def test_what_was_lost_before_it_was_sent_is_made_by_another_process(world, upstream):
    id = queue(world)
    dead = uuid4()
    assert [one.pk for one in claim_predictions(worker=dead, room=5)] == [id]
    assert claim_predictions(worker=uuid4(), room=5) == []
    in_hours(0.25)
    assert (settle_orphans(), sweep_predictions(), sweep_predictions(), settle_orphans()) == (0, 1, 0, 0)
    in_hours(0)
    world.run(lambda app: until_ended_row(world))
    assert (world.row.status, len(upstream.seen), world.rules) == ("succeeded", 1, ["per_call"])
    assert not begin_prediction(id=id, worker=dead)


def test_what_may_have_been_sent_is_not_sent_again_and_its_call_is_an_orphan(world, upstream):
    id, dead = queue(world), uuid4()
    claim_predictions(worker=dead, room=5)
    assert begin_prediction(id=id, worker=dead)
    assert renew_predictions(ids=[id], worker=dead) == {id: False}
    in_hours(0.5)
    assert settle_orphans() == 0  # the row says that it is alive
    assert (sweep_predictions(), sweep_predictions()) == (1, 0)
    assert (settle_orphans(), settle_orphans()) == (1, 0)
    in_hours(0)
    assert (world.row.status, world.row.error_code, world.row.cost_nano) == ("failed", "gateway_stopped", None)
    assert (world.rules, upstream.seen) == (["orphan_void"], [])
    assert renew_predictions(ids=[id], worker=dead) == {}


def test_whoever_was_taken_for_dead_writes_nothing(world):
    id, dead = queue(world), uuid4()
    claim_predictions(worker=dead, room=5)
    begin_prediction(id=id, worker=dead)
    in_hours(0.5)
    sweep_predictions()
    settle_orphans()
    in_hours(0)
    settle = SimpleNamespace(id=id, cost_nano=PRICE)
    assert not finish_prediction(id=id, worker=dead, settle=settle, output=b"{}", problem=None)  # type: ignore[arg-type]
    assert world.row.sealed_output is None


def test_what_waits_for_hours_keeps_its_hold(world):
    id = queue(world)
    for hours in (0.25, 0.5, 0.75):
        in_hours(hours)
        assert (sweep_predictions(), settle_orphans()) == (0, 0)
    in_hours(2)  # but not beyond its own time
    assert (sweep_predictions(), settle_orphans()) == (1, 0)
    in_hours(0)
    assert (Prediction.objects.get(pk=id).error_code, world.rules) == ("prediction_late", ["not_sent"])


# --- What is kept -----------------------------------------------------------------------------------------------------


def test_content_is_erased_after_its_hours_and_the_row_after_its_days(world):
    id = world.run(lambda app: world.post(prefer="wait", webhook="https://hooks.example.org/x")(app)).json["id"]

    def read() -> tuple[int, str]:
        client = Client(headers={"authorization": f"Bearer {world.secret}"})
        answer = client.get(f"/v1/predictions/{id}")
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    in_hours(25)
    assert prune_predictions() > 0
    assert prune_predictions() == 0
    row = world.row
    assert (row.sealed_input, row.sealed_output, row.sealed_webhook) == (None, None, None)
    in_hours(0)
    Prediction.objects.filter(pk=row.pk).update(expires_at=datetime.now(UTC))
    assert read() == (410, "prediction_expired")
    in_hours(24 * 9)
    assert prune_predictions() > 0
    in_hours(0)
    assert read() == (404, "prediction_not_found")


def test_nobody_else_sees_it(world):
    _key, stranger = make_key()
    _key, colleague = make_key(user=world.people.person)

    async def scenario(app):
        id = (await world.post(prefer="wait")(app)).json["id"]
        missing = Prediction(id=uuid4()).public_id
        found = []
        for secret in (stranger, colleague):
            for method, path in (("get", ""), ("post", "/cancel")):
                theirs = await world.ask(method, f"/v1/predictions/{id}{path}", secret)
                nothing = await world.ask(method, f"/v1/predictions/{missing}{path}", secret)
                found.append((theirs.status_code, nothing.status_code, theirs.json()["error"]["code"]))
            found.append((await world.ask("get", "/v1/predictions", secret)).json()["data"])
        return found

    refused = (404, 404, "prediction_not_found")
    assert world.run(scenario) == [refused, refused, [], refused, refused, []]


def test_the_same_key_of_idempotency_has_one_effect(world, upstream):
    async def scenario(app):
        answers = []
        for _ in range(2):
            request = world.post(prefer="wait")
            request.headers.append((b"idempotency-key", b"once"))
            answers.append(await request(app))
        return answers

    first, again = world.run(scenario)
    assert (first.status, again.status) == (201, 201)
    assert again.json["id"] == first.json["id"]
    assert (len(upstream.seen), world.rules) == (1, ["per_call"])


def test_events_are_put_into_the_outbox_once_each(world):
    hook = {"webhook": "https://hooks.example.org/secret-path", "webhook_events": ["started", "completed"]}
    id = world.run(lambda app: world.post(prefer="wait", **hook)(app)).json["id"]
    deliveries = WebhookDelivery.objects.filter(subject=id).order_by("id")
    assert [one.kind for one in deliveries] == ["prediction.started", "prediction.succeeded"]
    assert all(b"secret-path" not in bytes(one.sealed_url) for one in deliveries)


def test_a_receiver_hears_of_the_end_signed_and_with_a_small_output(world, upstream):
    with Receiver() as receiver:
        networks = [f"127.0.0.1/32:{port}" for port in (upstream.port, receiver.port)]
        with override_settings(OUTBOUND_ALLOWED_NETWORKS=networks):

            async def scenario(app):
                small = await world.post(prefer="wait", webhook=receiver.url)(app)
                upstream.answer = {"label": "x" * MAX_EVENT_BYTES}
                return small, await world.post(prefer="wait", webhook=receiver.url)(app)

            small, large = world.run(scenario)
            assert (deliver_webhooks(), deliver_webhooks()) == (2, 0)
    secret = shown_secret(webhook_secret(world.people.organization.pk))
    events = {}
    for headers, body in receiver.seen:
        event = Webhook(secret).verify(body, headers)
        events[event["data"]["id"]] = event
    assert {event["type"] for event in events.values()} == {"prediction.succeeded"}
    data = events[small.json["id"]]["data"]
    assert (data["output"], data["has_output"], data["cost"]["amount"]) == ({"label": "ok"}, True, "0.001")
    assert "input" not in data
    data = events[large.json["id"]]["data"]
    assert (data["output"], data["has_output"]) == (None, True)


def test_a_new_key_encryption_key_reaches_what_is_kept(world, settings):
    id = world.run(lambda app: world.post(prefer="wait", webhook="https://hooks.example.org/x")(app)).json["id"]
    before = dict(settings.KEY_ENCRYPTION_KEYS)
    settings.KEY_ENCRYPTION_KEYS = {"new": os.urandom(32), **before}
    left = count_retired_predictions()
    assert left >= 3
    assert reseal_predictions() == left
    assert (count_retired_predictions(), reseal_predictions()) == (0, 0)
    found = read_prediction(decode("pred", id))
    assert (found["input"], found["output"], found["webhook"]) == (
        {"text": "x"},
        {"label": "ok"},
        "https://hooks.example.org/x",
    )
    settings.KEY_ENCRYPTION_KEYS = {**before, "new": settings.KEY_ENCRYPTION_KEYS["new"]}
    reseal_predictions()
