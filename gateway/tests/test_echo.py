"""The built-in model of test keys: no network, no charge, a receipt like any other."""

import asyncio
import json

import pytest
from django.test import Client

from apikeys.tests.factories import make_key, make_person
from common.outbound import Door
from gateway.models import Invocation, Rule
from gateway.services.echo import ECHO_ID
from gateway.tests.asgi import Request, running_app
from marketplace.models import AIModel

CHAT = {"model": "agorai/echo", "messages": [{"role": "user", "content": "say this again"}]}


@pytest.fixture(scope="module")
def keys(database, settings_of_module):
    person = make_person()
    return {mode: make_key(user=person, mode=mode, spend_limit=None)[1] for mode in ("test", "live")}


def ask(path, body, credential):
    async def run():
        async with running_app() as app:
            return await Request(path, body, credential)(app)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the echo asked the network")

    monkeypatch.setattr(Door, "route", refuse)


def receipt(answer):
    call = Invocation.objects.order_by("-id").first()
    assert answer.answered["x-request-id"] == call.public_id
    return call


def test_a_chat_says_what_it_is_told_for_nothing(keys):
    answer = ask("/v1/chat/completions", CHAT, keys["test"])
    assert answer.status == 200, answer.received
    assert answer.json["choices"][0]["message"] == {"role": "assistant", "content": "say this again"}
    assert answer.json["model"] == "agorai/echo"
    call = receipt(answer)
    assert (call.mode, call.cost_nano, call.hold_nano, call.rule) == ("test", 0, 0, Rule.TEST_MODE)
    assert (call.ai_model_id, call.state, call.http_status) == (ECHO_ID, "final", 200)


def test_a_stream_comes_word_by_word_with_its_usage(keys):
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    answer = ask("/v1/chat/completions", body, keys["test"])
    lines = [line.removeprefix("data: ") for line in answer.received.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    said = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert said == "say this again"
    assert chunks[-1]["usage"]["cost"] == 0
    assert receipt(answer).is_streamed


def test_any_json_comes_back(keys):
    answer = ask("/api/models/agorai:echo/invoke", {"text": "x", "n": [1, None]}, keys["test"])
    assert answer.json == {"echo": {"text": "x", "n": [1, None]}}
    assert receipt(answer).kind == "invoke"
    chat = ask("/api/models/agorai:echo/invoke", {"messages": CHAT["messages"]}, keys["test"])
    assert chat.json["choices"][0]["message"]["content"] == "say this again"


def test_completions_and_embeddings_are_answered_too(keys):
    answer = ask("/v1/completions", {"model": "agorai/echo", "prompt": "again"}, keys["test"])
    assert answer.json["choices"][0]["text"] == "again"
    answer = ask("/v1/embeddings", {"model": "agorai/echo", "input": ["a", "b", "a"]}, keys["test"])
    vectors = [one["embedding"] for one in answer.json["data"]]
    assert vectors[0] == vectors[2] != vectors[1]


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": []}, {"messages": [1]}, {"messages": [{}]}])
def test_odd_chats_are_no_fault_of_ours(keys, body):
    for stream in (False, True):
        answer = ask("/v1/chat/completions", {**body, "model": "agorai/echo", "stream": stream}, keys["test"])
        assert answer.status == 200, answer.received


def test_live_keys_do_not_find_it_and_no_catalogue_has_it(keys):
    answer = ask("/v1/chat/completions", CHAT, keys["live"])
    assert (answer.status, answer.code) == (404, "model_not_found")
    assert not AIModel.objects.published().filter(pk=ECHO_ID).exists()
    assert "agorai/echo" not in Client().get("/api/models").content.decode()
    for mode, is_listed in (("test", True), ("live", False)):
        listed = Client(headers={"authorization": f"Bearer {keys[mode]}"}).get("/v1/models").json()
        assert ("agorai/echo" in [one["id"] for one in listed["data"]]) is is_listed
