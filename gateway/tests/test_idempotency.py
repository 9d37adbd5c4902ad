"""A call that is repeated under its idempotency key has one effect and one answer, whatever happens in between."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from aiohttp import web
from django.db import connections
from django.test import override_settings

from apikeys.tests.factories import make_key, make_person
from billing.services import ensure_account
from common.ids import encode, uuid7
from gateway.models import Invocation
from gateway.services import set_endpoint, settle_orphans
from gateway.tests.asgi import Request, running_app
from gateway.tests.test_hotpath import HELLO, until
from gateway.tests.upstream import chunk, stream_of
from marketplace.services import Terms
from marketplace.tests.factories import make_model
from observability.models import IdempotencyKey
from observability.services import count_retired_answers, prune_idempotency_keys, reseal_answers
from observability.services import idempotency as service


@pytest.fixture(scope="module")
def people(database: str, settings_of_module: None, upstream: Any) -> SimpleNamespace:
    """Two organizations with credit, and what both may call: a model priced per call and a chat priced per token."""
    publisher = make_person().personal_organization
    per_call = Terms(type="paid", per_call_nano=1_000_000)
    plain = make_model(publisher=publisher, name="Plain", status="published", pricing=per_call, test_enabled=True)
    set_endpoint(ai_model=plain, url=upstream.url, protocol="json", timeout_seconds=5)
    anything = {"input": {"type": "object"}, "output": {"type": "object"}}
    per_token = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
    chat = make_model(publisher=publisher, name="Chat", status="published", api_spec=anything, pricing=per_token)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    ada, bob = make_person(), make_person()
    for person in (ada, bob):
        ensure_account(person.personal_organization)
    return SimpleNamespace(
        plain=plain,
        chat=f"{publisher.slug}/{chat.slug}",
        ada=make_key(user=ada)[1],
        adas_other=make_key(user=ada)[1],
        adas_test=make_key(user=ada, mode="test")[1],
        bob=make_key(user=bob)[1],
    )


class World:
    """One test's own key, and what is sent under it."""

    def __init__(self, people: SimpleNamespace, database: str) -> None:
        self.people, self.database = people, database
        self.key = uuid7().hex.encode()
        self.began = uuid7()

    def invoke(self, *, secret: str = "", text: str = "x", key: bytes | None = None, path: str = "") -> Request:
        path = path or f"/api/models/{self.people.plain.public_id}/invoke"
        headers = [(b"idempotency-key", self.key if key is None else key)]
        return Request(path, {"text": text}, secret or self.people.ada, headers=headers)

    def stream(self, **values: Any) -> Request:
        body = {"model": self.people.chat, **HELLO, "stream": True}
        headers = [(b"idempotency-key", self.key)]
        return Request("/v1/chat/completions", body, self.people.ada, headers=headers, **values)

    def run(self, scenario: Any) -> Any:
        async def main() -> Any:
            async with running_app() as app:
                return await scenario(app)

        return asyncio.run(main())

    async def execute(self, statement: str, *parameters: Any) -> None:
        """As the owner, past what the application may do."""

        def work() -> None:
            with psycopg.connect(self.database, autocommit=True) as connection:
                connection.execute(statement.encode(), parameters)

        await asyncio.to_thread(work)

    @property
    def rules(self) -> list[str]:
        return [call.rule for call in Invocation.objects.filter(id__gt=self.began).order_by("id")]


@pytest.fixture
def world(people: SimpleNamespace, database: str, upstream: Any) -> World:
    upstream.answer, upstream.behave = {"label": "ok"}, None
    upstream.seen.clear()
    return World(people, database)


def is_replay(answer: Request, of: Request) -> bool:
    assert answer.answered["idempotency-replayed"] == "true"
    assert answer.answered["x-original-request-id"] == of.answered["x-request-id"] != answer.answered["x-request-id"]
    assert answer.answered["content-type"] == of.answered["content-type"]
    return (answer.status, answer.received) == (of.status, of.received)


# --- What a repeat gets -----------------------------------------------------------------------------------------------


def test_a_repeat_gets_the_first_answer_and_costs_nothing(world, upstream):
    async def scenario(app):
        first = await world.invoke()(app)
        upstream.answer = {"label": "another"}
        return [first, await world.invoke()(app), await world.invoke(secret=world.people.adas_other)(app)]

    first, *repeats = world.run(scenario)
    assert first.status == 200
    assert "idempotency-replayed" not in first.answered
    for repeat in repeats:  # of another key of the organization, too
        assert is_replay(repeat, first)
        assert repeat.answered["x-cost-usd"] == first.answered["x-cost-usd"] == "0.001"
        assert "ratelimit" in repeat.answered
    assert len(upstream.seen) == 1
    assert world.rules == ["per_call"]


def test_a_stream_is_repeated_byte_for_byte(world, upstream):
    usage = {"prompt_tokens": 10, "completion_tokens": 20}
    upstream.behave = stream_of(chunk("abcd"), chunk("efgh"), chunk(finish="stop", usage=usage))

    async def scenario(app):
        return [await world.stream()(app) for _ in range(2)]

    first, repeat = world.run(scenario)
    assert first.received.endswith(b"data: [DONE]\n\n")
    assert is_replay(repeat, first)
    assert len(upstream.seen) == 1
    assert world.rules == ["usage_reported"]


def test_whoever_lost_the_stream_gets_all_of_it_by_repeating(world, upstream, monkeypatch):
    from gateway.hotpath import stream as stream_module

    monkeypatch.setattr(stream_module, "DRAIN_BYTES", 100)
    usage = {"prompt_tokens": 10, "completion_tokens": 50}
    upstream.behave = stream_of(*[chunk("abcd")] * 50, chunk(finish="stop", usage=usage), pause=0.005)

    async def scenario(app):
        lost = world.stream()
        call = asyncio.create_task(lost(app))
        await lost.has_begun.wait()
        lost.leave()
        await call
        return lost, await world.stream()(app)

    lost, repeat = world.run(scenario)
    assert repeat.answered["idempotency-replayed"] == "true"
    assert repeat.received.startswith(lost.received)
    assert repeat.received.count(b"abcd") == 50
    assert repeat.received.endswith(b"data: [DONE]\n\n")
    assert len(upstream.seen) == 1
    assert world.rules == ["usage_reported"]


def test_a_stream_that_broke_off_is_what_its_repeat_gets(world, upstream):
    upstream.behave = stream_of(chunk("abcd"), cut=True)

    async def scenario(app):
        return [await world.stream()(app) for _ in range(2)]

    first, repeat = world.run(scenario)
    assert b'"error"' in first.received
    assert is_replay(repeat, first)
    assert world.rules == ["usage_counted"]


def test_a_prediction_is_put_in_line_once_whatever_comes_of_it(world, upstream):
    async def fail(request):
        return web.Response(status=500)

    upstream.behave = fail

    def predict(**headers):
        slug = f"{world.people.plain.publisher.slug}/{world.people.plain.slug}"
        sent = [(b"idempotency-key", world.key), *((name.encode(), value) for name, value in headers.items())]
        return Request("/v1/predictions", {"model": slug, "input": {"text": "x"}}, world.people.ada, headers=sent)

    async def scenario(app):
        first = await predict()(app)
        at_once = await predict()(app)
        await until(lambda: upstream.seen)
        await asyncio.to_thread(_until_final)
        return first, at_once, await predict(prefer=b"wait=1")(app)

    first, *repeats = world.run(scenario)
    assert (first.status, first.json["status"]) == (202, "queued")
    for repeat in repeats:
        assert is_replay(repeat, first)
        assert repeat.answered["location"] == first.answered["location"]
    assert world.rules == ["upstream_error"]


def _until_final() -> None:
    deadline = time.monotonic() + 10
    while Invocation.objects.filter(state="started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    connections.close_all()


def test_at_the_same_time_one_is_made_and_the_others_are_told_to_wait(world, upstream):
    async def slowly(request):
        await asyncio.sleep(0.5)
        return web.json_response({"label": "ok"})

    upstream.behave = slowly

    async def scenario(app):
        calls = await asyncio.gather(*(world.invoke()(app) for _ in range(20)))
        return calls, await world.invoke()(app)

    calls, later = world.run(scenario)
    assert sorted(call.status for call in calls) == [200] + [409] * 19
    for call in calls:
        if call.status == 409:
            assert call.code == "idempotent_request_running"
            assert int(call.answered["retry-after"]) >= 1
    assert is_replay(later, next(call for call in calls if call.status == 200))
    assert len(upstream.seen) == 1
    assert world.rules == ["per_call"]


def test_another_request_under_the_key_is_refused(world, upstream):
    people = world.people

    async def scenario(app):
        first = await world.invoke()(app)
        assert first.status == 200
        slug = f"{people.plain.publisher.slug}:{people.plain.slug}"
        others = [world.invoke(text="y"), world.invoke(path=f"/api/models/{slug}/invoke"), world.stream()]
        others.append(world.invoke(secret=people.adas_test))
        return [await other(app) for other in others]

    for answer in world.run(scenario):
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert len(upstream.seen) == 1
    assert world.rules == ["per_call"]


def test_another_organization_has_keys_of_its_own(world, upstream):
    async def scenario(app):
        adas = await world.invoke()(app)
        upstream.answer = {"label": "bobs"}
        return adas, await world.invoke(secret=world.people.bob)(app)

    adas, bobs = world.run(scenario)
    assert (adas.json, bobs.json) == ({"label": "ok"}, {"label": "bobs"})
    assert "idempotency-replayed" not in bobs.answered
    assert world.rules == ["per_call", "per_call"]


@pytest.mark.parametrize("key", [b"", b" ", b"two words", b"a, b", "schlüssel".encode("latin-1"), b"x" * 256, b"\xa0"])
def test_what_is_no_key_is_refused(world, upstream, key):
    answer = world.run(lambda app: world.invoke(key=key)(app))
    assert (answer.status, answer.code) == (400, "idempotency_key_invalid")
    assert upstream.seen == []


# --- When the first request failed ------------------------------------------------------------------------------------


def test_after_a_failure_the_key_is_free(world, upstream):
    async def fail(request):
        return web.Response(status=500)

    async def scenario(app):
        answers = []
        for behave, body in [(fail, "x"), (None, 5), (None, "x"), (fail, "x")]:
            upstream.behave = behave
            answers.append(await world.invoke(text=body)(app))
        return answers

    failed, misfit, made, repeated = world.run(scenario)
    assert (failed.status, failed.code) == (502, "upstream_error")
    assert (misfit.status, misfit.code) == (422, "validation_failed")  # another body: nothing was kept of the first
    assert made.status == 200
    assert is_replay(repeated, made)
    assert world.rules == ["upstream_error", "per_call"]


def test_a_stream_that_never_began_frees_its_key(world, upstream):
    async def fail(request):
        return web.Response(status=500)

    async def scenario(app):
        upstream.behave = fail
        first = await world.stream()(app)
        upstream.behave = stream_of(chunk("abcd"), chunk(finish="stop"))
        return first, await world.stream()(app)

    first, second = world.run(scenario)
    assert (first.status, second.status) == (502, 200)
    assert "idempotency-replayed" not in second.answered


def test_without_credit_nothing_is_kept(world, upstream):
    poor = make_person()
    ensure_account(poor.personal_organization)
    secret = make_key(user=poor)[1]
    budget = poor.personal_organization.pk

    async def scenario(app):
        await world.execute('UPDATE accounts_budget SET "limit" = 0 WHERE subject_id = %s', budget)
        refused = await world.invoke(secret=secret)(app)
        await world.execute('UPDATE accounts_budget SET "limit" = 5000000000 WHERE subject_id = %s', budget)
        return refused, await world.invoke(secret=secret)(app)

    refused, made = world.run(scenario)
    assert (refused.status, refused.code) == (402, "insufficient_credit")
    assert made.status == 200


# --- When the process ends --------------------------------------------------------------------------------------------


def test_a_key_of_a_process_that_died_is_freed_with_the_orphan(world, upstream):
    """The call stays `started`, as a killed process leaves it."""

    async def hang(request):
        await asyncio.sleep(30)
        return web.Response()

    async def scenario(app):
        upstream.behave = hang
        lost = asyncio.create_task(world.invoke()(app))
        await until(lambda: upstream.seen)
        id = (await asyncio.to_thread(Invocation.objects.latest, "id")).id
        running = await world.invoke()(app)
        await world.execute("UPDATE gateway_invocation SET beat_at = beat_at - interval '10 minutes' WHERE id = %s", id)
        await asyncio.to_thread(settle_orphans)
        upstream.behave = None
        again = await world.invoke()(app)
        lost.cancel()
        return running, again, await lost, await world.invoke()(app)

    running, again, lost, repeat = world.run(scenario)
    assert (running.status, running.code) == (409, "idempotent_request_running")
    assert again.status == 200
    assert lost.status == 503
    assert is_replay(repeat, again)  # what was left of the first did not free the key of the second
    assert world.rules == ["orphan_void", "per_call"]


def test_a_claim_whose_call_never_began_is_freed_as_late_as_an_orphan(world):
    async def scenario(app):
        first = await world.invoke()(app)
        await world.execute("UPDATE observability_idempotencykey SET call_id = gen_random_uuid(), sealed_answer = NULL")
        waiting = await world.invoke()(app)
        await world.execute("UPDATE observability_idempotencykey SET claimed_at = claimed_at - interval '151 seconds'")
        return first, waiting, await world.invoke()(app)

    assert [answer.status for answer in world.run(scenario)] == [200, 409, 200]


def test_an_answer_that_was_paid_and_lost_is_not_made_again(world, upstream):
    async def scenario(app):
        first = await world.invoke()(app)
        await world.execute("UPDATE observability_idempotencykey SET sealed_answer = NULL")
        return first, await world.invoke()(app)

    first, repeat = world.run(scenario)
    assert (repeat.status, repeat.code) == (422, "idempotent_answer_not_kept")
    assert repeat.json["original_request_id"] == first.answered["x-request-id"]
    assert len(upstream.seen) == 1


def test_an_answer_that_is_too_large_is_delivered_and_not_kept(world, upstream, monkeypatch):
    monkeypatch.setattr(service, "MAX_KEPT_BYTES", 1000)
    upstream.answer = {"label": "x" * 2000}

    async def scenario(app):
        return [await world.invoke()(app) for _ in range(2)]

    first, repeat = world.run(scenario)
    assert (first.status, len(first.received) > 2000) == (200, True)
    assert (repeat.status, repeat.code) == (422, "idempotent_answer_not_kept")
    assert len(upstream.seen) == 1


def test_whoever_lost_the_key_meanwhile_charges_nothing(world, upstream):
    async def slowly(request):
        await asyncio.sleep(0.5)
        return web.json_response({"label": "ok"})

    upstream.behave = slowly

    async def scenario(app):
        call = asyncio.create_task(world.invoke()(app))
        await until(lambda: upstream.seen)
        await world.execute("UPDATE observability_idempotencykey SET id = gen_random_uuid()")
        return await call

    answer = world.run(scenario)
    assert (answer.status, answer.code) == (409, "idempotent_request_running")
    assert world.rules == ["orphan_void"]


# --- How long, and how it is stored -----------------------------------------------------------------------------------


def test_after_a_day_the_key_is_free_and_then_forgotten(world, upstream):
    async def age(interval):
        await world.execute(
            "UPDATE observability_idempotencykey SET claimed_at = claimed_at - %s::interval", timedelta(**interval)
        )

    async def scenario(app):
        answers = [await world.invoke()(app)]
        await age({"hours": 23, "minutes": 59})
        answers.append(await world.invoke()(app))
        assert await asyncio.to_thread(prune_idempotency_keys) == 0
        await age({"minutes": 1})
        answers.append(await world.invoke()(app))
        await age({"hours": 24})
        assert await asyncio.to_thread(prune_idempotency_keys) >= 1
        return answers

    IdempotencyKey.objects.all().delete()
    first, replayed, anew = world.run(scenario)
    assert is_replay(replayed, first)
    assert (anew.status, "idempotency-replayed" in anew.answered) == (200, False)
    assert len(upstream.seen) == 2
    assert not IdempotencyKey.objects.exists()


def test_neither_key_nor_answer_can_be_read_in_the_table_and_both_outlive_an_exchange_of_secrets(
    world, upstream, settings
):
    secret = b"nobody-else-may-see-this"
    upstream.answer = {"label": secret.decode()}

    async def scenario(app):
        return await world.invoke(key=secret)(app)

    async def again(app):
        return await world.invoke(key=secret)(app)

    first = world.run(scenario)
    row = IdempotencyKey.objects.get(pk=Invocation.objects.latest("id").id)
    stored = b"".join([bytes(row.key_hash), bytes(row.fingerprint), bytes(row.sealed_answer)])
    assert secret not in stored
    old_keks, old_peppers = settings.KEY_ENCRYPTION_KEYS, settings.KEY_PEPPERS
    with override_settings(
        KEY_ENCRYPTION_KEYS={"new": b"n" * 32, **old_keks}, KEY_PEPPERS={"new": b"p" * 32, **old_peppers}
    ):
        assert count_retired_answers() >= 1
        assert reseal_answers() >= 1
        assert (count_retired_answers(), reseal_answers()) == (0, 0)
        assert is_replay(world.run(again), first)
    lost = world.run(again)  # with the old key alone, which opens the endpoint and no longer the answer
    assert (lost.status, lost.code) == (422, "idempotent_answer_not_kept")
    assert lost.json["original_request_id"] == encode("req", row.pk)
    IdempotencyKey.objects.all().delete()
