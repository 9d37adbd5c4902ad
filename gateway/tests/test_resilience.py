"""Endpoints that fail: what is asked again, what is left alone, and for how long."""

import asyncio
import random
import socket
import time
from types import SimpleNamespace

import pytest
from aiohttp import web

from apikeys.tests.factories import make_key, make_person
from gateway.errors import UpstreamBusy
from gateway.hotpath import resilience
from gateway.hotpath.resilience import MAX_REPEATS, SPARE_REPEATS, WINDOW_CALLS, Circuit
from gateway.models import Invocation
from gateway.services import check_books, set_endpoint
from gateway.tests.asgi import Request, running_app
from gateway.tests.upstream import chunk, stream_of
from marketplace.services import Terms
from marketplace.tests.factories import make_model

HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
CHAT = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
ANYTHING = {"input": {"type": "object"}, "output": {"type": "object"}}


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the circuits, moved by hand."""
    at = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(resilience.time, "monotonic", lambda: at.now)
    return at


def fail(circuit, times):
    for _ in range(times):
        circuit.begin()
        circuit.failed()


def is_open(circuit):
    try:
        circuit.require_closed()
    except UpstreamBusy:
        return True
    return False


# --- The circuit ------------------------------------------------------------------------------------------------------


def test_it_opens_after_so_many_failures_in_a_row_and_not_one_before(clock, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 5
    circuit = Circuit()
    fail(circuit, 4)
    circuit.begin()
    circuit.answered()
    fail(circuit, 4)
    assert not is_open(circuit)
    fail(circuit, 1)
    assert is_open(circuit)


def test_it_opens_when_half_of_many_fail(clock, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 100
    circuit = Circuit()
    for _ in range(WINDOW_CALLS // 2 - 1):
        fail(circuit, 1)
        circuit.begin()
        circuit.answered()
    assert not is_open(circuit), "as many are answered, and they are not many yet"
    fail(circuit, 2)
    assert is_open(circuit)
    slow = Circuit()
    for _ in range(WINDOW_CALLS):
        fail(slow, 1)
        slow.begin()
        slow.answered()
        clock.now += 2.0
    assert not is_open(slow), "of a window there are too few"


def test_it_never_opens_where_that_is_switched_off(clock, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 0
    circuit = Circuit()
    fail(circuit, 1000)
    assert not is_open(circuit)


def test_after_the_pause_one_call_is_let_through_and_decides(clock, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 3
    circuit = Circuit()
    fail(circuit, 3)
    with pytest.raises(UpstreamBusy) as refused:
        circuit.begin()
    assert refused.value.headers["Retry-After"] == "5"
    clock.now += 5
    assert not is_open(circuit)
    circuit.begin()  # the trial
    with pytest.raises(UpstreamBusy):
        circuit.begin()
    circuit.failed()
    clock.now += 9
    assert is_open(circuit), "twice as long"
    clock.now += 1
    circuit.begin()
    circuit.answered()
    circuit.begin()
    circuit.begin()
    fail(circuit, 3)
    clock.now += 5
    assert not is_open(circuit), "the pause is the first one again"


def test_a_trial_that_never_ends_is_followed_by_another(clock, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 1
    circuit = Circuit()
    fail(circuit, 1)
    clock.now += 5
    circuit.begin()
    clock.now += 5
    circuit.begin()


def test_the_pause_has_an_end(clock, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 1
    circuit = Circuit()
    fail(circuit, 1)
    for _ in range(10):
        clock.now = circuit.open_until
        fail(circuit, 1)
    assert circuit.open_until - clock.now == resilience.MAX_PAUSE_SECONDS


@pytest.mark.parametrize("seed", range(5))
def test_repeats_are_never_more_than_a_fifth_of_the_calls(seed, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 0
    chance, circuit, repeats = random.Random(seed), Circuit(), 0
    for calls in range(1, 2000):
        circuit.begin()
        for _ in range(MAX_REPEATS):
            if chance.random() < 0.9 and circuit.take_repeat():
                repeats += 1
        assert repeats <= SPARE_REPEATS + 0.2 * calls
    assert repeats > 300, "and they are used"


# --- Calls ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    person = make_person()
    per_token = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
    given = {"publisher": person.personal_organization, "status": "published", "api_spec": ANYTHING}
    chat = make_model(name="Chat", pricing=per_token, **given)
    set_endpoint(ai_model=chat, url=upstream.url, protocol="openai", timeout_seconds=5)
    plain = make_model(name="Plain", pricing=per_token, **given)
    set_endpoint(ai_model=plain, url=upstream.url, protocol="json", timeout_seconds=5)
    return SimpleNamespace(chat=chat, plain=plain, secret=make_key(user=person)[1])


@pytest.fixture(autouse=True)
def fresh(request):
    if "upstream" in request.fixturenames:
        upstream = request.getfixturevalue("upstream")
        upstream.answer, upstream.behave = CHAT, None
        upstream.seen.clear()


def chat(people, **body):
    name = f"{people.chat.publisher.slug}/{people.chat.slug}"
    return Request("/v1/chat/completions", {"model": name, **HELLO, **body}, people.secret)


def invoke(people):
    return Request(f"/api/models/{people.plain.public_id}/invoke", {"text": "x"}, people.secret)


def run(scenario):
    async def main():
        async with running_app() as app:
            return await scenario(app)

    found = asyncio.run(main())
    assert not Invocation.objects.filter(state="started").exists()
    assert check_books() == []
    return found


def failing(times, status):
    """Answers with `status` so often, then well."""
    left = [times]

    async def behave(request):
        left[0] -= 1
        return web.Response(status=status) if left[0] >= 0 else web.json_response(CHAT)

    return behave


@pytest.mark.parametrize("status", [502, 503])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_proxy_that_fails_in_front_of_a_model_is_asked_again(people, upstream, status, is_streamed):
    well = stream_of(chunk("hi"), chunk(finish="stop"))
    bad = failing(2, status)

    async def behave(request):
        answer = await bad(request)
        return answer if answer.status != 200 or not is_streamed else await well(request)

    upstream.behave = behave
    answer = run(chat(people, stream=is_streamed))
    assert answer.status == 200
    ids = {seen.headers["x-agorai-request-id"] for seen in upstream.seen}
    assert (len(upstream.seen), len(ids)) == (3, 1), "the same request, whose id tells that it is"
    assert Invocation.objects.order_by("-id").first().error_code == ""


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "upstream_error"), (504, "upstream_error"), (429, "upstream_busy"), (400, "upstream_rejected")],
)
def test_what_may_have_been_worked_on_or_was_refused_is_not_repeated(people, upstream, status, code):
    upstream.behave = failing(1, status)
    assert run(chat(people)).code == code
    assert len(upstream.seen) == 1


def test_a_model_that_may_do_anything_is_not_asked_twice(people, upstream):
    upstream.behave = failing(1, 503)
    assert run(invoke(people)).code == "upstream_busy"
    assert len(upstream.seen) == 1


def test_an_endpoint_that_says_when_to_come_again_is_believed(people, upstream):
    async def behave(request):
        return web.Response(status=503, headers={"Retry-After": "7"})

    upstream.behave = behave
    answer = run(chat(people))
    assert (answer.code, answer.answered["retry-after"], len(upstream.seen)) == ("upstream_busy", "7", 1)


def test_a_stream_is_not_repeated_once_it_has_begun(people, upstream):
    upstream.behave = stream_of(chunk("a"), cut=True)
    answer = run(chat(people, stream=True))
    assert b"upstream_error" in answer.received
    assert len(upstream.seen) == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure(people, upstream):
    """The endpoint hangs up in the moment in which the next request comes: nobody has begun to work on that."""

    async def behave(request):
        if len(upstream.seen) == 2:
            request.transport.abort()
        return web.json_response(CHAT)

    upstream.behave = behave

    async def scenario(app):
        return [(await invoke(people)(app)).status for _ in range(2)]

    assert run(scenario) == [200, 200]
    assert len(upstream.seen) == 3


def test_a_fresh_connection_that_is_closed_may_have_been_worked_on(people, upstream):
    async def behave(request):
        request.transport.abort()
        return web.Response()

    upstream.behave = behave
    assert run(chat(people)).code == "upstream_error"
    assert len(upstream.seen) == 1


@pytest.fixture
def nobody(settings):
    """An address at which nothing answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        settings.OUTBOUND_ALLOWED_NETWORKS = [f"127.0.0.1/32:{port}"]
        yield f"http://127.0.0.1:{port}"


def test_an_endpoint_that_is_away_is_left_alone_before_anything_is_reserved(people, nobody, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 4
    given = {"publisher": people.plain.publisher, "status": "published", "api_spec": ANYTHING}
    away = make_model(name="Away", **given)
    set_endpoint(ai_model=away, url=nobody, protocol="json", timeout_seconds=5)

    async def scenario(app):
        answers = []
        for _ in range(4):
            request = Request(f"/api/models/{away.public_id}/invoke", {"text": "x"}, people.secret)
            began = time.monotonic()
            answers.append((await request(app), time.monotonic() - began))
        return answers

    answers = run(scenario)
    assert [answer.code for answer, _ in answers] == ["upstream_error"] * 2 + ["upstream_busy"] * 2
    assert 1 <= int(answers[2][0].answered["retry-after"]) <= 5
    assert answers[3][1] < answers[0][1], "which takes no time"
    assert Invocation.objects.filter(ai_model=away).count() == 2


def test_failures_of_one_endpoint_do_not_close_the_way_to_another(people, upstream, settings):
    settings.GATEWAY_CIRCUIT_FAILURES = 1
    upstream.behave = failing(1, 500)

    async def scenario(app):
        return [(await request(app)).status for request in (chat(people), chat(people), invoke(people))]

    assert run(scenario) == [502, 503, 200]


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
def test_what_the_caller_did_wrong_never_counts(people, upstream, settings, status):
    settings.GATEWAY_CIRCUIT_FAILURES = 1
    upstream.behave = failing(3, status)

    async def scenario(app):
        return [(await chat(people)(app)).status for _ in range(4)]

    assert run(scenario)[3] == 200
