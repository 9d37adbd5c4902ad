"""The unmodified `anthropic` package as the oracle of `/v1/messages`."""

from __future__ import annotations

import json

import anthropic
import pytest
from aiohttp import web

from gateway.tests.upstream import FakeUpstream
from tests.client import Client, make_key, sign_up

HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "upstream-model",
    "content": [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "t1", "name": "w", "input": {"a": 1}}],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": USAGE,
    "novel": {"x": 1},
}
TEXT = {"type": "text_delta", "text": "Hel"}
PARTS = [
    {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None, "usage": USAGE}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": TEXT},
    {"type": "content_block_delta", "index": 0, "delta": {**TEXT, "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t1", "name": "w", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": " 1}"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 20},
    },
    {"type": "message_stop"},
]


async def behave(request: web.Request) -> web.StreamResponse:
    """The fake endpoint: what it does is named by the system prompt."""
    body = await request.json()
    match body.get("system"):
        case "reject":
            return web.json_response({"type": "error", "error": {"type": "x", "message": "too hot"}}, status=400)
        case "busy":
            return web.json_response({}, status=529, headers={"Retry-After": "300"})
    if not body.get("stream"):
        return web.json_response(ANSWER)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for part in PARTS[:5] if body.get("system") == "break" else PARTS:
        await response.write(f"event: {part['type']}\ndata: {json.dumps(part)}\n\n".encode())
    if body.get("system") == "break":
        await response.write(b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n')
    return response


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream(behave=behave) as found:
        yield found


@pytest.fixture(scope="module")
def key(stack, upstream):
    site = stack.start_gateway(OUTBOUND_ALLOWED_NETWORKS=f"127.0.0.1/32:{upstream.port}", OUTBOUND_ALLOW_HTTP="true")
    person = Client(site, sign_up(stack, "messages@example.org").credential)
    assert person.post("/api/auth/become-developer").status == 200
    listing = {
        "name": "Messages",
        "description": "Speaks in messages.",
        "version": "1.0.0",
        "category": "chat",
        "api_spec": {
            "input": {"type": "object", "properties": {"messages": {"type": "array"}}},
            "output": {"type": "object"},
        },
        "pricing": {"type": "paid", "rates": {"input_tokens_per_million": "1", "output_tokens_per_million": "2"}},
    }
    made = person.post("/api/models", listing).json["id"]
    endpoint = {"url": f"{upstream.url}/v1", "protocol": "anthropic", "secret": "sk-upstream"}
    told = person.put(f"/api/models/{made}/endpoint", endpoint)
    assert (told.status, told.json["auth_header"]) == (200, "x-api-key"), told
    published = person.post(f"/api/models/{made}/publish")
    assert published.status == 200, published
    key = make_key(person)
    key.model = published.json["slug"]
    return key


@pytest.fixture(scope="module")
def client(key):
    return anthropic.Anthropic(base_url=key.url, api_key=key.credential, max_retries=2)


def ask(client, key, **values):
    return client.messages.create(**{"model": key.model, "messages": HELLO, "max_tokens": 50, **values})


def test_a_message(client, key, upstream):
    message = ask(client, key, extra_body={"a_future_field": [1, None]}, tools=[], stop_sequences=["x"])
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.content[1].input == {"a": 1}
    assert (message.usage.output_tokens, message.novel) == (20, {"x": 1})
    assert key.get(f"/v1/requests/{message._request_id}").json["kind"] == "messages"
    sent = upstream.seen[-1]
    assert sent.json["a_future_field"] == [1, None]
    assert sent.headers["x-api-key"] == "sk-upstream"
    assert sent.headers["anthropic-version"] == client.default_headers["anthropic-version"]
    assert key.credential not in str(sent.headers)


def test_a_stream_with_the_sdks_own_accumulation(client, key):
    with client.messages.stream(model=key.model, messages=HELLO, max_tokens=50) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == "Hello"
    assert message.content[1].input == {"a": 1}
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens == 20


def test_a_raw_stream_carries_the_cost_in_its_last_usage(client, key):
    events = list(ask(client, key, stream=True))
    assert [event.type for event in events if event.type != "ping"] == [
        part["type"] for part in PARTS if part["type"] != "ping"
    ]
    assert events[-2].usage.cost == 0.000055  # 15 of input at a dollar per million, 20 of output at two


def test_a_stream_that_breaks_raises_after_what_was_good(client, key):
    events, seen = iter(ask(client, key, stream=True, system="break")), []
    with pytest.raises(anthropic.APIStatusError) as raised:
        seen += iter(lambda: next(events).type, "")
    assert seen[-1] == "content_block_delta"
    assert raised.value.body["error"]["code"] == "upstream_error"


def test_what_the_endpoint_says_of_the_input_is_passed_on(client, key):
    with pytest.raises(anthropic.UnprocessableEntityError) as raised:
        ask(client, key, system="reject")
    assert raised.value.body["error"]["upstream_message"] == "too hot"
    assert raised.value.body["request_id"].startswith("req_")


def test_an_unknown_key_is_an_authentication_error(key):
    wrong = anthropic.Anthropic(base_url=key.url, api_key="agr_live_nonsense", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as raised:
        ask(wrong, key)
    assert raised.value.body["error"]["type"] == "authentication_error"


def test_a_model_that_is_not_there_is_not_found(client, key):
    with pytest.raises(anthropic.NotFoundError) as raised:
        ask(client, key, model="nobody/nothing")
    assert raised.value.body["error"]["code"] == "model_not_found"


def test_a_model_that_speaks_otherwise_says_where(client, key):
    with pytest.raises(anthropic.UnprocessableEntityError) as raised:
        ask(client, key, model="demo/eliza")
    assert raised.value.body["error"]["fix_url"].endswith("/v1/chat/completions")


def test_the_model_is_listed_with_its_price(client, key):
    assert key.get(f"/v1/models/{key.model}").json["pricing"]["input_tokens_per_million"]["amount"] == "1.00"
