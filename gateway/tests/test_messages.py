"""`/v1/messages`: Anthropic's dialect for upstreams that speak it; and what a stream of any dialect may not do."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiohttp import web

from apikeys.tests.factories import make_key, make_person
from common.outbound import OutboundBadAnswer, Timeouts
from gateway.adapters import MAX_TOKENS, Usage, anthropic
from gateway.errors import UpstreamFailed
from gateway.forms import PlaygroundForm
from gateway.hotpath import stream as stream_module
from gateway.models import Endpoint, Invocation
from gateway.serializers import answer_shown
from gateway.services import check_books, set_endpoint
from gateway.tests.asgi import Request, running_app
from gateway.tests.upstream import chunk, stream_of
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.tests.factories import make_model

HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "upstream-model",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 20, "service_tier": "standard"},
}
START = {
    "type": "message_start",
    "message": {**ANSWER, "content": [], "usage": {"input_tokens": 10, "output_tokens": 1}},
}
TEXT = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
]
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "future": 1}, "usage": {"output_tokens": 20}}
STOP = {"type": "message_stop"}


@pytest.fixture(scope="module")
def people(database, settings_of_module, upstream):
    person = make_person()
    organization = person.personal_organization
    anything = {"input": {"type": "object"}, "output": {"type": "object"}}
    terms = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
    models = {}
    for protocol in ("anthropic", "openai"):
        made = make_model(publisher=organization, name=protocol, status="published", api_spec=anything, pricing=terms)
        given = {"url": f"{upstream.url}/v1/", "protocol": protocol, "timeout_seconds": 5, "secret": "sk-upstream"}
        set_endpoint(ai_model=made, **given, upstream_model="upstream-model")
        models[protocol] = f"{organization.slug}/{made.slug}"
    return SimpleNamespace(secret=make_key(user=person)[1], models=models)


@pytest.fixture
def ask(people, upstream):
    """Call a model, and look at the books. Returns the request with its answer, and the call's row."""
    upstream.answer, upstream.behave = ANSWER, None
    upstream.seen.clear()

    def ask(body, *, protocol="anthropic", path="/v1/messages", headers=(), secret=None):
        request = Request(path, {"model": people.models[protocol], **body}, headers=list(headers))
        request.headers.append((b"x-api-key", (secret or people.secret).encode()))

        async def main():
            async with running_app() as app:
                return await request(app)

        asyncio.run(main())
        assert check_books() == []
        return request, Invocation.objects.order_by("-id").first()

    return ask


def told(request: Request) -> list[tuple[str, dict]]:
    """The events of a stream; each is named as its data is."""
    found = []
    for event in request.received.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(name == data["type"] for name, data in found), found
    return found


def messages_of(*events, **rest):
    return stream_of(*events, done=False, **rest)


def test_a_message_is_passed_on_as_it_is_and_billed_as_reported(ask, upstream):
    request, call = ask({**HELLO, "novel": {"a": 1}})
    assert (request.status, request.json) == (200, ANSWER)
    sent = upstream.seen[-1]
    assert sent.path == "/v1/messages"
    assert sent.json == {"model": "upstream-model", **HELLO, "novel": {"a": 1}}
    assert (sent.headers["x-api-key"], sent.headers["anthropic-version"]) == ("sk-upstream", "2023-06-01")
    assert "authorization" not in sent.headers
    assert (call.kind, call.input_tokens, call.output_tokens, call.usage_source) == ("messages", 15, 20, "reported")
    assert call.cost_nano == 35_000
    assert request.answered["x-cost-usd"] == "0.000035"


def test_the_callers_version_goes_along_and_no_other_header(ask, upstream):
    given = [
        (b"anthropic-version", b"2099-01-01"),
        (b"anthropic-beta", b"a-1,b-2"),
        (b"x-other", b"x"),
        (b"cookie", b"c"),
    ]
    ask(HELLO, headers=given)
    sent = upstream.seen[-1].headers
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2099-01-01", "a-1,b-2")
    assert not {"x-other", "cookie"} & set(sent)
    ask(HELLO, headers=[(b"anthropic-version", b"2\xff"), (b"anthropic-beta", b"x" * 300)])
    sent = upstream.seen[-1].headers
    assert sent["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in sent


def test_a_stream_carries_the_cost_on_its_last_delta(ask, upstream):
    upstream.behave = messages_of(START, *TEXT, END, STOP)
    request, call = ask({**HELLO, "stream": True})
    *passed, last, stop = told(request)
    assert [event for _, event in passed] == [START, *TEXT]
    assert last[1] == {**END, "usage": {"output_tokens": 20, "cost": 0.00003}}
    assert stop == ("message_stop", STOP)
    assert (call.input_tokens, call.output_tokens, call.cost_nano) == (10, 20, 30_000)
    assert call.first_token_ms is not None


def test_usage_comes_in_parts_and_the_last_word_counts(ask, upstream):
    more = {**END, "usage": {"input_tokens": 12, "cache_creation_input_tokens": 3, "output_tokens": 25}}
    upstream.behave = messages_of(START, *TEXT, END, more, STOP)
    request, call = ask({**HELLO, "stream": True})
    assert next(event for name, event in told(request) if name == "message_delta") == END
    assert (call.input_tokens, call.output_tokens) == (15, 25)


@pytest.mark.parametrize("end", [[], [STOP], [{**END, "usage": {"output_tokens": -1}}, STOP]])
def test_a_stream_without_usage_is_counted_and_ends_well(ask, upstream, end):
    upstream.behave = messages_of(START, *TEXT, *end)
    request, call = ask({**HELLO, "stream": True})
    (_, last), (stop, _) = told(request)[-2:]
    assert stop == "message_stop"
    assert (call.usage_source, call.output_tokens) == ("counted", 2)
    assert last["usage"]["output_tokens"] == 2
    assert last["usage"]["cost"] == call.cost_nano / 10**9


def test_a_stream_that_breaks_says_so_in_its_dialect(ask, upstream):
    upstream.behave = messages_of(START, *TEXT, cut=True, pause=0.02)
    request, call = ask({**HELLO, "stream": True})
    name, error = told(request)[-1]
    assert (name, error["error"]["type"], error["error"]["code"]) == ("error", "api_error", "upstream_error")
    assert error["request_id"] == call.public_id
    assert call.output_tokens == 2


@pytest.mark.parametrize("events", [[], [{"type": "error", "error": {"type": "overloaded_error"}}], [b"data: 7\n\n"]])
def test_a_stream_that_never_begins_costs_nothing(ask, upstream, events):
    upstream.behave = messages_of(*events)
    request, call = ask({**HELLO, "stream": True})
    assert (request.status, request.json["type"], call.cost_nano) == (502, "error", 0)


@pytest.mark.parametrize("bound", [{}, {"max_tokens": 0}, {"max_tokens": "5"}, {"max_tokens": True}])
def test_a_message_names_its_bound(ask, upstream, bound):
    body = {"messages": HELLO["messages"], "max_completion_tokens": 5, **bound}
    request, _ = ask(body)
    assert request.status == 422
    assert request.json["error"]["type"] == "invalid_request_error"
    assert request.json["error"]["errors"][0]["pointer"] == "/max_tokens"
    assert upstream.seen == []


def test_what_is_held_is_what_the_bound_may_cost(ask):
    _, call = ask({**HELLO, "max_completion_tokens": 1})
    assert call.hold_nano > 100 * 1000


@pytest.mark.parametrize(
    ("status", "expected", "type"),
    [(400, 422, "invalid_request_error"), (529, 502, "api_error"), (429, 503, "overloaded_error")],
)
def test_errors_come_in_the_dialect(ask, upstream, status, expected, type):
    async def behave(request):
        return web.json_response({"type": "error", "error": {"type": "x", "message": "too hot"}}, status=status)

    upstream.behave = behave
    request, call = ask(HELLO)
    assert (request.status, request.json["type"], request.json["error"]["type"]) == (expected, "error", type)
    assert request.json["request_id"] == call.public_id
    assert ("too hot" in request.received.decode()) is (status == 400)


def test_an_unknown_key_is_told_in_the_dialect(ask):
    request, _ = ask(HELLO, secret="agr_live_nonsense")
    assert (request.status, request.json["error"]["type"]) == (401, "authentication_error")


def test_a_model_is_called_at_the_address_of_its_protocol(ask, people, upstream):
    request, _ = ask(HELLO, path="/v1/chat/completions")
    assert (request.status, request.json["error"]["code"]) == (422, "wrong_protocol")
    assert request.json["error"]["fix_url"].endswith("/v1/messages")
    request, _ = ask(HELLO, protocol="openai")
    assert request.json["error"]["fix_url"].endswith("/v1/chat/completions")
    slug = people.models["anthropic"].replace("/", ":")
    request, call = ask(HELLO, path=f"/api/models/{slug}/invoke")
    assert (request.status, call.kind) == (200, "messages")


@pytest.mark.parametrize("protocol", ["anthropic", "openai"])
def test_an_upstream_that_says_something_but_no_event_is_cut_off(ask, upstream, monkeypatch, protocol):
    quick = Timeouts(idle=0.3)
    monkeypatch.setattr(stream_module, "timeouts", lambda call: quick)
    upstream.behave = stream_of(*[b": still here\n\n"] * 300, pause=0.02)
    path = "/v1/messages" if protocol == "anthropic" else "/v1/chat/completions"
    request, call = ask({**HELLO, "stream": True}, protocol=protocol, path=path)
    assert (request.status, call.error_code, call.cost_nano) == (504, "upstream_timeout", 0)


def test_an_upstream_that_is_quick_enough_is_not_cut_off(ask, upstream, monkeypatch):
    quick = Timeouts(idle=0.3)
    monkeypatch.setattr(stream_module, "timeouts", lambda call: quick)
    upstream.behave = stream_of(*[chunk("a"), b": still here\n\n"] * 10, chunk(finish="stop"), pause=0.05)
    request, _ = ask({**HELLO, "stream": True}, protocol="openai", path="/v1/chat/completions")
    assert request.received.endswith(b"data: [DONE]\n\n")
    assert b"error" not in request.received


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 5, "output_tokens": 7}, Usage(5, 7)),
        ({"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 7}, Usage(5, 7)),
        (
            {"input_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 3, "output_tokens": 4},
            Usage(6, 4),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, Usage(0, 0)),
        ({"input_tokens": 5}, None),
        ({"input_tokens": -5, "output_tokens": 7}, None),
        ({"input_tokens": 5, "output_tokens": MAX_TOKENS + 1}, None),
        ({"input_tokens": 5, "output_tokens": "7"}, None),
        ({"input_tokens": True, "output_tokens": 7}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_believed_only_when_it_can_be(usage, expected):
    assert anthropic.usage({"usage": usage}) == expected


def test_the_playground_asks_with_a_bound_and_shows_the_text(people):
    ai_model = AIModel.objects.detailed().get(name="anthropic")
    endpoint = Endpoint.objects.of_model(ai_model.id).first()
    form = PlaygroundForm(ai_model, endpoint)
    assert (form.request.path, form.can_stream) == ("/v1/messages", False)
    assert form.request.body["max_tokens"] == 1024
    assert answer_shown(form.request.kind, ANSWER) == {"text": "Hi"}
    assert answer_shown(form.request.kind, {"content": [7, {"type": "tool_use"}]}) == {"text": ""}


@pytest.mark.parametrize("data", [b"{", b"7", b"{}", b'{"type": 5}', b'{"type": "a\\nb"}', b'{"type": "A b"}', b"[[[["])
def test_what_is_no_event_is_refused(data):
    with pytest.raises(OutboundBadAnswer):
        anthropic.Events({}).read(data)


def test_an_error_in_the_middle_is_the_upstreams():
    with pytest.raises(UpstreamFailed):
        anthropic.Events({}).read(b'{"type": "error", "error": {}}')


def test_what_is_generated_is_counted():
    reader = anthropic.Events({})
    for delta, size in (
        ({"type": "text_delta", "text": "äb"}, 3),
        ({"type": "input_json_delta", "partial_json": '{"a'}, 3),
        ({"type": "thinking_delta", "thinking": "hm"}, 2),
        (7, 0),
    ):
        data = json.dumps({"type": "content_block_delta", "index": 0, "delta": delta}).encode()
        passed, text = reader.read(data)
        assert passed == b"event: content_block_delta\ndata: " + data + b"\n\n"
        assert text == size
