"""A process takes so much at a time and no more, and ends what it has begun before it ends."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiohttp import web
from django.db import connections

from accounts.models import Budget
from apikeys.tests.factories import make_key, make_person
from common.problems import ServiceUnavailable
from gateway.hotpath import app as app_module
from gateway.hotpath import call as call_module
from gateway.hotpath.pressure import MIB, SMALL_BYTES, Pressure
from gateway.models import Invocation
from gateway.services import check_books, set_endpoint
from gateway.tests.asgi import Request, running_app
from gateway.tests.upstream import chunk, stream_of
from marketplace.services import Terms
from marketplace.tests.factories import make_model

ANYTHING = {"input": {"type": "object"}, "output": {"type": "object"}}
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10, "stream": True}


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    person = make_person()
    organization = person.personal_organization
    terms = Terms(type="paid", per_call_nano=1_000_000)
    plain = make_model(publisher=organization, name="Heavy", status="published", api_spec=ANYTHING, pricing=terms)
    set_endpoint(ai_model=plain, url=upstream.url, protocol="json", timeout_seconds=5)
    chat = make_model(publisher=organization, name="Talk", status="published", api_spec=ANYTHING, pricing=terms)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    return SimpleNamespace(
        plain=plain.public_id, chat=f"{organization.slug}/{chat.slug}", secret=make_key(user=person)[1]
    )


@pytest.fixture
def invoke(people, upstream):
    upstream.answer, upstream.behave = {"label": "ok"}, None
    upstream.seen.clear()
    return lambda size=0, **values: Request(
        f"/api/models/{people.plain}/invoke", {"text": "x" * size}, people.secret, **values
    )


def run(scenario):
    async def main():
        async with running_app() as app:
            return await scenario(app)

    found = asyncio.run(main())
    connections.close_all()
    assert not Invocation.objects.filter(state="started").exists()
    assert not Budget.objects.exclude(held=0).exists()
    assert check_books() == []
    return found


async def until(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def hanging(upstream) -> asyncio.Event:
    """The endpoint answers when the event is set."""
    released = asyncio.Event()

    async def hang(request):
        while not released.is_set():
            await asyncio.sleep(0.01)
        return web.json_response({"label": "ok"})

    upstream.behave = hang
    return released


def test_one_call_more_than_the_process_may_make_is_told_to_come_again(settings, upstream, invoke):
    settings.GATEWAY_CONCURRENT_CALLS = 3

    async def scenario(app):
        released = hanging(upstream)
        calls = [asyncio.create_task(invoke()(app)) for _ in range(3)]
        await until(lambda: len(upstream.seen) == 3)
        refused = await invoke()(app)
        assert (refused.status, refused.code) == (503, "service_unavailable")
        assert refused.answered["retry-after"] == "1"
        released.set()
        assert {(await call).status for call in calls} == {200}
        assert (await invoke()(app)).status == 200, "there is a place again"
        assert len(upstream.seen) == 4
        pressure = (await app_module.running_gateway()).pressure
        assert (pressure.calls, pressure.bytes) == (0, 0)

    run(scenario)


def test_large_bodies_weigh_until_their_calls_end_and_small_ones_never(settings, upstream, invoke):
    settings.GATEWAY_BODY_MEMORY_MIB = 8

    async def scenario(app):
        released = hanging(upstream)
        large = [asyncio.create_task(invoke(3 * MIB)(app)) for _ in range(2)]
        await until(lambda: len(upstream.seen) == 2)
        pressure = (await app_module.running_gateway()).pressure
        assert 6 * MIB < pressure.bytes < 6 * MIB + 1000
        for is_chunked in (False, True):
            refused = await invoke(3 * MIB, is_chunked=is_chunked)(app)
            assert (refused.status, refused.code, refused.answered["retry-after"]) == (503, "service_unavailable", "1")
        small = [asyncio.create_task(invoke(SMALL_BYTES - 1000)(app)) for _ in range(50)]
        await until(lambda: len(upstream.seen) == 52)
        assert 6 * MIB < pressure.bytes < 6 * MIB + 1000
        released.set()
        assert {(await call).status for call in (*large, *small)} == {200}
        assert (pressure.calls, pressure.bytes) == (0, 0)
        assert (await invoke(3 * MIB)(app)).status == 200, "there is room again"

    run(scenario)


def test_a_body_that_breaks_off_or_is_refused_weighs_nothing_any_more(settings, invoke):
    settings.GATEWAY_BODY_MEMORY_MIB = 8

    async def scenario(app):
        broken = Request(invoke().path, b"[" * MIB, invoke().credential, breaks_off=True)
        call = asyncio.create_task(broken(app))
        pressure = (await app_module.running_gateway()).pressure
        await until(lambda: pressure.bytes == MIB)
        await call
        no_json = await Request(invoke().path, b"[" * MIB, invoke().credential)(app)
        assert (no_json.status, no_json.code) == (400, "invalid_json")
        assert (pressure.calls, pressure.bytes) == (0, 0)

    run(scenario)


def test_pressure_counts_what_came_once():
    pressure = Pressure(most_calls=1, most_mib=8)
    weighed = pressure.weigh(5 * MIB, 0)
    weighed = pressure.weigh(8 * MIB, weighed)
    assert (weighed, pressure.bytes) == (8 * MIB, 8 * MIB)
    with pytest.raises(ServiceUnavailable):
        pressure.weigh(8 * MIB + 1, weighed)
    assert pressure.bytes == 8 * MIB


def test_at_the_end_of_the_process_what_hangs_is_cut_off_and_settled_and_nothing_new_begins(
    people, upstream, invoke, monkeypatch
):
    """Also calls that no server's request waits for, as runs in the playground, which nobody would cancel."""
    monkeypatch.setattr(call_module, "DRAIN_SECONDS", 0.5)
    tasks = []

    async def scenario(app):
        hanging(upstream)
        tasks.append(asyncio.create_task(invoke()(app)))
        await until(lambda: len(upstream.seen) == 1)
        upstream.behave = stream_of(*[chunk("abcd") for _ in range(200)], pause=0.05)
        body = {"model": people.chat, **HELLO}
        stream = Request("/v1/chat/completions", body, people.secret)
        tasks.append(asyncio.create_task(stream(app)))
        await stream.has_begun.wait()

    async def main():
        async with running_app() as app:
            await scenario(app)
            gateway = await app_module.running_gateway()
        # The end of the block is the end of the lifespan.
        with pytest.raises(ServiceUnavailable):
            gateway.pressure.require_place(0)
        return [await task for task in tasks]

    call, stream = asyncio.run(main())
    connections.close_all()
    assert (call.status, call.code, call.answered["retry-after"]) == (503, "gateway_stopped", "1")
    error, done = stream.received.split(b"data: ")[-2:]
    assert (json.loads(error)["error"]["code"], done) == ("gateway_stopped", b"[DONE]\n\n")
    assert list(Invocation.objects.order_by("-id").values_list("state", "rule")[:2]) == [
        ("final", "per_call"),
        ("final", "orphan_void"),
    ]
    assert not Budget.objects.exclude(held=0).exists()
    assert check_books() == []


def test_while_calls_end_new_ones_are_told_to_come_again(upstream, invoke):
    async def main():
        async with running_app() as app:
            released = hanging(upstream)
            call = asyncio.create_task(invoke()(app))
            await until(lambda: upstream.seen)
            closing = asyncio.create_task((await app_module.running_gateway()).close())
            await asyncio.sleep(0.05)
            refused = await invoke()(app)
            released.set()
            await closing
            return await call, refused

    done, refused = asyncio.run(main())
    connections.close_all()
    assert done.status == 200
    assert (refused.status, refused.code, refused.answered["retry-after"]) == (503, "service_unavailable", "1")
    assert not Invocation.objects.filter(state="started").exists()
