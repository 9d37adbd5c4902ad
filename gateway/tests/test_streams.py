"""Streams that end otherwise than they should, clients that are slow or gone, and holds that grow with what is sent."""

import asyncio
import json
from types import SimpleNamespace

import psycopg
import pytest
from aiohttp import web

from accounts.models import Budget
from apikeys.services import SpendLimit
from apikeys.tests.factories import make_key, make_person
from billing.services import ensure_account
from gateway.hotpath import app as app_module
from gateway.hotpath import stream as stream_module
from gateway.hotpath import writer as writer_module
from gateway.hotpath.events import EventParser
from gateway.hotpath.writer import Writer
from gateway.services import set_endpoint
from gateway.tests.asgi import Request
from gateway.tests.test_hotpath import World, until
from gateway.tests.upstream import chunk, stream_of
from marketplace.services import Terms
from marketplace.tests.factories import make_model

USAGE = {"prompt_tokens": 10, "completion_tokens": 20}
TEXT = "abcd" * 25  # 25 tokens


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    """A chat at 1,000 nano-units a token, and a key; the credit pays for 5,000,000 of them."""
    person = make_person()
    organization = person.personal_organization
    ensure_account(organization)
    anything = {"input": {"type": "object"}, "output": {"type": "object"}}
    per_token = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
    chat = make_model(publisher=organization, name="Chat", status="published", api_spec=anything, pricing=per_token)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    tight = make_key(user=person, spend_limit=SpendLimit(5_000_000, "lifetime"))[1]
    return SimpleNamespace(
        organization=organization, plain=chat, chat=chat, secret=make_key(user=person)[1], tight=tight
    )


@pytest.fixture
def world(people, database, upstream):
    upstream.answer, upstream.behave = {"label": "ok"}, None
    upstream.seen.clear()
    return World(people, database)


def unbounded(world: World, secret: str = "", **values) -> Request:
    body = {"model": f"{world.people.organization.slug}/{world.people.chat.slug}", "stream": True}
    messages = [{"role": "user", "content": "hello"}]
    return Request("/v1/chat/completions", {**body, "messages": messages}, secret or world.secret, **values)


def events(request: Request) -> list:
    found = [line[6:] for line in request.received.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(data) for data in found if data != b"[DONE]"]


# --- Usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usages", "output", "source"),
    [
        ([USAGE], 20, "reported"),
        ([{**USAGE, "completion_tokens": 7}, USAGE], 20, "reported"),
        ([USAGE, {**USAGE, "completion_tokens": -1}], 20, "reported"),
        ([USAGE, {**USAGE, "completion_tokens": 10**12}], 20, "reported"),
        ([{**USAGE, "completion_tokens": "20"}], 25, "counted"),
        ([], 25, "counted"),
        ([{"prompt_tokens": 0, "completion_tokens": 0}], 0, "reported"),
    ],
)
def test_the_last_report_that_can_be_believed_counts_and_never_a_sum(world, upstream, usages, output, source):
    reports = [chunk(choices=False, usage=usage) for usage in usages]
    upstream.behave = stream_of(chunk(TEXT), chunk(finish="stop"), *reports)

    async def scenario(app):
        return await world.stream()(app)

    assert world.run(scenario).status == 200
    call = world.calls.get()
    assert (call.output_tokens, call.usage_source) == (output, source)


def test_what_breaks_off_before_any_text_costs_nothing(world, upstream):
    upstream.behave = stream_of(chunk(), cut=True)

    async def scenario(app):
        return await world.stream()(app)

    answer = world.run(scenario)
    assert events(answer)[-1]["error"]["code"] == "upstream_error"
    call = world.calls.get()
    assert (call.rule, call.cost_nano) == ("upstream_error", 0)


def test_what_was_held_back_and_never_sent_costs_nothing(world, upstream):
    upstream.behave = stream_of(chunk(TEXT, finish="stop"), cut=True)

    async def scenario(app):
        return await world.stream()(app)

    assert world.run(scenario).status == 502
    assert world.calls.get().cost_nano == 0


# --- Clients ----------------------------------------------------------------------------------------------------------


def test_a_client_that_left_before_anything_came_is_charged_nothing(world, upstream, monkeypatch):
    monkeypatch.setattr(stream_module, "DRAIN_SECONDS", 0.2)

    async def hang(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(20)
        return response

    upstream.behave = hang

    async def scenario(app):
        request = world.stream()
        call = asyncio.create_task(request(app))
        await until(lambda: upstream.seen)
        request.leave()
        await asyncio.wait_for(call, 3)

    world.run(scenario)
    call = world.calls.get()
    assert (call.rule, call.error_code, call.http_status) == ("cancelled", "client_left", 499)


def test_a_client_that_left_while_its_hold_was_made_is_not_sent(world, upstream):
    async def scenario(app):
        upstream.behave = stream_of(chunk("x"), chunk(finish="stop"))
        assert (await world.stream()(app)).status == 200
        with world.locked_budgets():
            request = world.stream()
            call = asyncio.create_task(request(app))
            await world.until_a_batch_waits()
            request.leave()
            await asyncio.sleep(0.05)
        await call
        assert (await app_module.running_gateway()).drains == 0

    world.run(scenario)
    assert world.rules[-1] == "not_sent"
    assert len(upstream.seen) == 1


def test_a_client_that_leaves_while_its_stream_is_settled_leaves_nothing_to_read_on(world, upstream):
    upstream.behave = stream_of(chunk("abcd"), chunk(finish="stop", usage=USAGE), pause=0.2)

    async def scenario(app):
        request = world.stream()
        call = asyncio.create_task(request(app))
        await request.has_begun.wait()
        with world.locked_budgets():
            await world.until_a_batch_waits()
            request.leave()
            await asyncio.sleep(0.05)
        await call
        assert (await app_module.running_gateway()).drains == 0

    world.run(scenario)
    call = world.calls.get()
    assert (call.usage_source, call.output_tokens) == ("reported", 20)


def test_beyond_so_many_drains_an_upstream_is_cut_off_at_once(world, upstream, settings):
    settings.GATEWAY_DRAINS = 0
    upstream.behave = stream_of(*[chunk(TEXT)] * 200, chunk(finish="stop", usage=USAGE), pause=0.05)

    async def scenario(app):
        request = world.stream()
        call = asyncio.create_task(request(app))
        await request.has_begun.wait()
        request.leave()
        await asyncio.wait_for(call, 2)
        gateway = await app_module.running_gateway()
        assert gateway.drains == 0
        await until(lambda: gateway.door.in_use == 0, 2)

    world.run(scenario)
    call = world.calls.get()
    assert (call.rule, call.usage_source) == ("usage_counted", "counted")
    assert call.output_tokens >= 25


def test_while_a_client_lags_its_upstream_is_read_on(world, upstream):
    """All of it waits for a client that takes nothing, and the usage is known before it takes the first byte."""
    upstream.behave = stream_of(*[chunk("abcd")] * 50, chunk(finish="stop", usage=USAGE))

    async def scenario(app):
        request = world.stream(stalls=True)
        call = asyncio.create_task(request(app))
        await request.has_begun.wait()
        gateway = await app_module.running_gateway()
        await until(lambda: gateway.door.in_use == 0 and not gateway._open, 5)
        assert not call.done()
        request.leave()
        await asyncio.wait_for(call, 2)

    world.run(scenario)
    assert world.calls.get().output_tokens == 20


def test_whoever_waits_for_the_first_token_is_told_that_the_call_lives(world, upstream, monkeypatch):
    monkeypatch.setattr(stream_module, "KEEP_ALIVE_SECONDS", 0.05)

    async def late(request):
        await asyncio.sleep(0.3)
        return await stream_of(chunk("x"), chunk(finish="stop", usage=USAGE))(request)

    upstream.behave = late

    async def scenario(app):
        return await world.stream()(app)

    answer = world.run(scenario)
    assert answer.received.startswith(b": keep-alive\n\n: keep-alive\n\n")
    assert answer.received.count(b": keep-alive") < 10
    assert events(answer)[-1]["usage"]["completion_tokens"] == 20


def test_an_error_after_a_comment_is_told_in_the_stream(world, upstream, monkeypatch):
    monkeypatch.setattr(stream_module, "KEEP_ALIVE_SECONDS", 0.05)

    async def late(request):
        await asyncio.sleep(0.2)
        return web.json_response({"error": "no"}, status=500)

    upstream.behave = late

    async def scenario(app):
        return await world.stream()(app)

    answer = world.run(scenario)
    assert answer.status == 200
    assert events(answer)[-1]["error"]["code"] == "upstream_error"
    assert world.calls.get().rule == "upstream_error"


# --- Holds that grow --------------------------------------------------------------------------------------------------


def test_the_hold_of_a_stream_without_a_bound_grows_with_it(world, upstream):
    upstream.behave = stream_of(*[chunk(TEXT)] * 200, chunk(finish="stop"))

    async def scenario(app):
        return await unbounded(world)(app)

    answer = world.run(scenario)
    assert answer.received.endswith(b"data: [DONE]\n\n")
    call = world.calls.get()
    assert call.output_tokens == 5000
    assert call.extended_nano == 2 * 2000 * 1000
    assert call.overrun_nano == 0
    assert call.hold_nano == call.extended_nano + (2000 + len(json.dumps(unbounded(world).body))) * 1000


def test_a_stream_that_reaches_its_limit_ends_cleanly_and_is_charged_what_was_sent(world, upstream):
    upstream.behave = stream_of(
        *[chunk(TEXT)] * 1000, chunk(finish="stop", usage={**USAGE, "completion_tokens": 25_000})
    )

    async def scenario(app):
        return await unbounded(world, world.people.tight)(app)

    answer = world.run(scenario)
    assert answer.status == 200
    error = events(answer)[-1]["error"]
    assert (error["code"], error["limit_source"]) == ("spend_limit_reached", "key")
    assert answer.received.endswith(b"data: [DONE]\n\n")
    call = world.calls.get()
    assert call.output_tokens == 4000
    assert call.cost_nano <= call.hold_nano <= 5_000_000
    assert call.error_code == "spend_limit_reached"
    budget = Budget.objects.get(purpose="spend_limit")
    assert (budget.held, budget.spent) == (0, call.cost_nano)


def test_an_endpoint_that_says_what_a_call_costs_at_most_holds_that_and_no_more(world, upstream, people):
    set_endpoint(ai_model=people.chat, url=upstream.url, protocol="openai", timeout_seconds=5, max_cost_nano=3_000_000)
    upstream.behave = stream_of(*[chunk(TEXT)] * 200, chunk(finish="stop"))

    async def scenario(app):
        await asyncio.sleep(1.1)  # until the endpoint is read again
        return await unbounded(world)(app)

    answer = world.run(scenario)
    set_endpoint(ai_model=people.chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    assert answer.received.endswith(b"data: [DONE]\n\n")
    call = world.calls.get()
    assert (call.hold_nano, call.cost_nano) == (3_000_000, 3_000_000)
    assert call.overrun_nano > 0


def test_a_beat_notes_what_was_delivered(world, upstream, monkeypatch):
    monkeypatch.setattr("gateway.hotpath.call.BEAT_SECONDS", 0.2)
    upstream.behave = stream_of(*[chunk(TEXT)] * 40, chunk(finish="stop"), pause=0.02)
    noted = []

    async def scenario(app):
        call = asyncio.create_task(world.stream()(app))
        with psycopg.connect(world.database, autocommit=True) as other:
            while not call.done():
                noted.extend(
                    other.execute(
                        "SELECT output_tokens, usage_source FROM gateway_invocation WHERE state = 'started'"
                    ).fetchall()
                )
                await asyncio.sleep(0.05)
        return await call

    world.run(scenario)
    assert any(tokens and source == "counted" for tokens, source in noted)


# --- Parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_in_pieces_of_any_size(size):
    raw = b": hi\r\ndata: one\r\n\r\ndata:two\ndata: more\n\nevent: x\nid: 5\n\ndata: three\n\ndata: four"
    parser = EventParser()
    found = [data for first in range(0, len(raw), size) for data in parser.feed(raw[first : first + size])]
    assert found == [b"one", b"two more", b"three"]
    assert EventParser().feed(b"data: one\n\n") == [b"one"]
    assert EventParser().feed(b"data: a\nb\n") == []


async def test_a_writer_hands_over_in_order_whatever_the_pace():
    taken, gate = [], asyncio.Event()

    async def emit(data, more=True):
        if data == b"2":
            await gate.wait()
        taken.append((data, more))

    left = []
    writer = Writer(emit, lambda: left.append(1))
    for data in (b"1", b"2", b"3"):
        writer.write(data)
    writer.write(b"4", more=False)
    assert taken == [(b"1", True)]
    gate.set()
    await writer.flush()
    assert taken == [(b"1", True), (b"2", True), (b"34", False)]
    assert not left


async def test_a_writer_is_full_until_there_is_room(monkeypatch):
    monkeypatch.setattr(writer_module, "QUEUED_BYTES", 4)
    gate = asyncio.Event()

    async def emit(data, more=True):
        await gate.wait()

    writer = Writer(emit, lambda: None)
    writer.write(b"first")
    writer.write(b"123456")
    assert writer.is_full
    asyncio.get_running_loop().call_later(0.05, gate.set)
    async with asyncio.timeout(2):
        await writer.room()
    assert not writer.is_full


async def test_a_client_that_hung_up_ends_the_writer():
    async def emit(data, more=True):
        await asyncio.sleep(0)
        raise OSError("gone")

    left = []
    writer = Writer(emit, lambda: (left.append(1), writer.leave()))
    writer.write(b"1")
    await writer.flush()
    assert left == [1]
    writer.write(b"2")
    await writer.flush()
