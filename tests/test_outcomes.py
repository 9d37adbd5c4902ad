"""However a call ends, it is settled once, by a named rule, and no hold stays behind."""

import asyncio
import json
import socket
import time
from decimal import Decimal
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web

from gateway.tests.upstream import FakeUpstream, chunk, stream_of
from tests.client import Client, make_key, sign_up

CHAT = {
    "name": "Outcome Chat",
    "description": "Whatever the test wants.",
    "version": "1.0.0",
    "category": "chat",
    "api_spec": {
        "input": {"type": "object", "required": ["messages"], "properties": {"messages": {"type": "array"}}},
        "output": {"type": "object"},
    },
    "pricing": {"type": "paid", "rates": {"input_tokens_per_million": "1", "output_tokens_per_million": "2"}},
}
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
PLAIN = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream() as found:
        yield found


@pytest.fixture(autouse=True)
def well_behaved(upstream):
    upstream.answer, upstream.behave = {**PLAIN, "usage": USAGE}, None


@pytest.fixture(scope="module")
def key(stack, upstream):
    site = stack.start_gateway(OUTBOUND_ALLOWED_NETWORKS=f"127.0.0.1/32:{upstream.port}", OUTBOUND_ALLOW_HTTP="true")
    person = Client(site, sign_up(stack, "outcomes@example.org").credential)
    assert person.post("/api/auth/become-developer").status == 200
    model = person.post("/api/models", CHAT).json["id"]
    endpoint = {"url": f"{upstream.url}/v1", "protocol": "openai", "timeout_seconds": 2, "max_cost": money("0.001")}
    assert person.put(f"/api/models/{model}/endpoint", endpoint).status == 200
    published = person.post(f"/api/models/{model}/publish")
    assert published.status == 200, published
    key = make_key(person, permissions=["models:read", "models:invoke", "analytics:read"])
    key.model = published.json["slug"]
    return key


def money(amount: str) -> dict:
    return {"amount": amount, "currency": "USD"}


@pytest.fixture(autouse=True)
def nothing_is_held(stack):
    """After every outcome the budgets agree with the calls, and nothing stays held."""
    yield
    deadline = time.monotonic() + 5
    while True:
        with psycopg.connect(stack.owner_url) as connection:
            held = connection.execute("SELECT count(*) FROM accounts_budget WHERE held <> 0").fetchone()
            open_calls = connection.execute(
                "SELECT count(*) FROM gateway_invocation WHERE state = 'started'"
            ).fetchone()
        if held == open_calls == (0,):
            return
        assert time.monotonic() < deadline, (held, open_calls)
        time.sleep(0.1)


def chat(key: Client, **values):
    return key.post("/v1/chat/completions", {"model": key.model, **HELLO, **values})


def receipt(key: Client, answer) -> dict:
    found = key.get(f"/v1/requests/{answer.headers['x-request-id']}")
    assert found.status == 200, found
    return found.json


def status(code: int, body: object = None, **headers: str):
    async def behave(request):
        return web.json_response({} if body is None else body, status=code, headers=headers)

    return behave


async def hang(request):
    await asyncio.sleep(20)
    return web.Response()


async def reset(request):
    request.transport.abort()
    return web.Response()


async def not_json(request):
    return web.Response(text="<html>hello</html>", content_type="text/html")


async def too_large(request):
    response = web.StreamResponse(headers={"Content-Type": request.headers["Accept"]})
    await response.prepare(request)
    for _ in range(40):
        await response.write(b" " * 1024 * 1024)
    return response


@pytest.mark.parametrize(
    ("behave", "expected", "code", "rule"),
    [
        (status(500), 502, "upstream_error", "upstream_error"),
        (status(404), 502, "upstream_error", "upstream_error"),
        (status(401), 502, "upstream_error", "upstream_error"),
        (status(307, None, Location="http://127.0.0.1/"), 502, "upstream_error", "upstream_error"),
        (status(400, {"error": {"message": "too hot"}}), 422, "upstream_rejected", "upstream_error"),
        (status(429, None, **{"Retry-After": "7"}), 503, "upstream_busy", "upstream_error"),
        (hang, 504, "upstream_timeout", "upstream_timeout"),
        (reset, 502, "upstream_error", "upstream_error"),
        (too_large, 502, "upstream_error", "upstream_error"),
        (not_json, 502, "upstream_invalid_output", "invalid_output"),
        (status(200, {"choices": []}), 502, "upstream_invalid_output", "invalid_output"),
        (status(200, ["no", "object"]), 502, "upstream_invalid_output", "invalid_output"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_nothing_is_charged_unless_work_was_delivered(key, upstream, behave, expected, code, rule, stream):
    upstream.behave = behave
    answer = chat(key, stream=stream)
    assert answer.status == expected, answer
    assert answer.json["error"]["code"] == code
    found = receipt(key, answer)
    assert (found["rule"]["code"], found["cost"]["amount"], found["status"]) == (rule, "0.00", expected)
    assert found["error_code"] == code


def test_the_upstreams_own_words_are_passed_on_when_it_is_about_the_input(key, upstream):
    upstream.behave = status(400, {"error": {"message": "temperature is too hot"}})
    answer = chat(key)
    assert answer.json["error"]["upstream_message"] == "temperature is too hot"


def test_a_busy_upstream_says_when_to_come_again(key, upstream):
    upstream.behave = status(429, None, **{"Retry-After": "7"})
    assert chat(key).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("usage", "source"),
    [
        (USAGE, "reported"),
        (None, "counted"),
        ({"prompt_tokens": -5, "completion_tokens": 2}, "counted"),
        ({"prompt_tokens": 10**12, "completion_tokens": 2}, "counted"),
        ({"prompt_tokens": "ten", "completion_tokens": 2}, "counted"),
    ],
)
def test_usage_that_cannot_be_believed_is_counted_instead(key, upstream, usage, source):
    upstream.answer = {**PLAIN, "usage": usage}
    found = receipt(key, chat(key))
    assert found["usage"]["source"] == source
    assert found["rule"]["code"] == f"usage_{source}"
    tokens = found["usage"]
    due = Decimal(tokens["input_tokens"] + 2 * tokens["output_tokens"]) / 1_000_000
    assert Decimal(found["cost"]["amount"]) == due > 0


def test_explicit_zero_is_zero(key, upstream):
    upstream.answer = {**PLAIN, "usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    found = receipt(key, chat(key))
    assert (found["cost"]["amount"], found["rule"]["code"]) == ("0.00", "usage_reported")


def test_no_call_costs_more_than_its_hold(key, upstream):
    upstream.answer = {**PLAIN, "usage": {"prompt_tokens": 10, "completion_tokens": 5_000_000}}
    found = receipt(key, chat(key))
    assert found["hold"]["amount"] == found["cost"]["amount"] == "0.001"
    assert Decimal(found["overrun"]["amount"]) > 9


def test_the_body_reaches_the_upstream_untouched_but_for_the_models_name(key, upstream):
    chat(key, temperature=0.5, unknown={"a": [1, None, "ü"]})
    sent = upstream.seen[-1]
    assert sent.json == {"model": key.model, **HELLO, "temperature": 0.5, "unknown": {"a": [1, None, "ü"]}}
    for name in ("authorization", "cookie", "x-forwarded-for", "x-api-key"):
        assert name not in sent.headers


def read_stream(answer) -> list:
    events = [line[6:] for line in answer.body.decode().split("\n") if line.startswith("data: ")]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


def test_a_streams_reported_usage_rides_on_its_last_chunk(key, upstream):
    upstream.behave = stream_of(chunk("a"), chunk("b"), chunk(finish="stop"), chunk(choices=False, usage=USAGE))
    answer = chat(key, stream=True)
    *_, last, done = read_stream(answer)
    assert done == "[DONE]"
    assert last["usage"] == {**USAGE, "cost": 0.00005}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert receipt(key, answer)["cost"]["amount"] == "0.00005"


def test_usage_reported_twice_is_billed_once_the_last_counts(key, upstream):
    other = {"prompt_tokens": 1, "completion_tokens": 1}
    upstream.behave = stream_of(
        chunk("a", usage=other),
        chunk(finish="stop"),
        chunk(choices=False, usage=other),
        chunk(choices=False, usage=USAGE),
    )
    found = receipt(key, chat(key, stream=True))
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (10, 20)


def test_a_stream_without_usage_is_counted(key, upstream):
    upstream.behave = stream_of(chunk("abcdefgh"), chunk(finish="stop"))
    found = receipt(key, chat(key, stream=True))
    assert (found["usage"]["output_tokens"], found["usage"]["source"]) == (2, "counted")


def test_a_stream_that_ends_without_done_is_whole_all_the_same(key, upstream):
    upstream.behave = stream_of(chunk("a"), chunk(finish="stop", usage=USAGE), done=False)
    answer = chat(key, stream=True)
    assert read_stream(answer)[-1] == "[DONE]"
    assert receipt(key, answer)["usage"]["source"] == "reported"


def test_a_stream_that_breaks_says_so_and_bills_what_was_delivered(key, upstream):
    upstream.behave = stream_of(chunk("abcd"), chunk("efgh"), pause=0.05, cut=True)
    answer = chat(key, stream=True)
    *good, error, done = read_stream(answer)
    assert [event["choices"][0]["delta"]["content"] for event in good] == ["abcd", "efgh"]
    assert error["error"]["code"] == "upstream_error"
    assert done == "[DONE]"
    found = receipt(key, answer)
    assert (found["usage"]["output_tokens"], found["rule"]["code"]) == (2, "usage_counted")
    assert (found["status"], found["error_code"]) == (502, "upstream_error")


def test_a_stream_that_never_begins_costs_nothing(key, upstream):
    upstream.behave = stream_of()
    answer = chat(key, stream=True)
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_invalid_output")


def test_after_the_client_has_gone_the_reported_usage_is_billed(key, upstream):
    chunks = [chunk(f"word {n} ") for n in range(20)]
    upstream.behave = stream_of(*chunks, chunk(finish="stop"), chunk(choices=False, usage=USAGE), pause=0.03)
    body = json.dumps({"model": key.model, **HELLO, "stream": True}).encode()
    address = urlsplit(key.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {address.netloc}",
            f"Authorization: Bearer {key.credential}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        head = "\r\n".join([*lines, "", ""])
        connection.sendall(head.encode() + body)
        received = b""
        while b"data: " not in received:
            received += connection.recv(4096)
    request_id = next(
        line.split(b":")[1].strip().decode() for line in received.split(b"\r\n") if line.startswith(b"x-request-id")
    )
    deadline = time.monotonic() + 10
    while (found := key.get(f"/v1/requests/{request_id}").json)["state"] != "final":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert (found["usage"]["output_tokens"], found["usage"]["source"]) == (20, "reported")
    assert found["cost"]["amount"] == "0.00005"
