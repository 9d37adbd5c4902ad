"""The lines that people copy: they must parse, and carry this instance's address."""

import ast
import inspect
import json
import shlex

import anthropic
import openai
import pytest

from config.snippets import ARGUMENTS, MESSAGE_ARGUMENTS, call_tabs, key_tabs, request_tabs

SITE = "https://models.example.org"
AWKWARD = {"text": 'it\'s "quoted"', "options": {"top": 3, "strict": True, "none": None, "tags": ["a", "b"]}}


@pytest.mark.parametrize(
    ("category", "path"),
    [
        ("chat", "/v1/chat/completions"),
        ("embeddings", "/v1/embeddings"),
        ("text-classification", "/api/models/acme:aurora/invoke"),
    ],
)
def test_the_shell_line_posts_json_to_the_right_address(category, path):
    shell, _, _ = call_tabs(SITE, "acme/aurora", category, AWKWARD)
    words = shlex.split(shell["source"].replace("\\\n", ""))
    assert words[:2] == ["curl", SITE + path]
    body = json.loads(words[words.index("--json") + 1])
    assert body == AWKWARD if category == "text-classification" else body["model"] == "acme/aurora"


@pytest.mark.parametrize("category", ["chat", "embeddings", "text-classification"])
def test_the_python_lines_are_python(category):
    _, python, node = call_tabs(SITE, "acme/aurora", category, AWKWARD)
    calls = [node for node in ast.walk(ast.parse(python["source"])) if isinstance(node, ast.Call)]
    sent = {word.arg: word.value for call in calls for word in call.keywords}
    assert SITE in python["source"]
    assert SITE in node["source"]
    if category == "text-classification":
        assert ast.literal_eval(sent["json"]) == AWKWARD
    else:
        assert ast.literal_eval(sent["model"]) == "acme/aurora"


CHAT = {
    "model": "acme/aurora",
    "messages": [{"role": "user", "content": 'it\'s "quoted" \\ $HOME `x`\nand more'}],
    "a_future_field": {"x": [1, None]},
    "stream": True,
}


def test_exactly_the_request_is_written_and_unknown_fields_travel_along():
    shell, python, node = request_tabs(SITE, "/v1/chat/completions", CHAT)
    words = shlex.split(shell["source"].replace("\\\n", ""))
    assert words[:3] == ["curl", "-N", f"{SITE}/v1/chat/completions"]
    assert json.loads(words[words.index("--json") + 1]) == CHAT
    call = next(
        call
        for call in ast.walk(ast.parse(python["source"]))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "client.chat.completions.create"
    )
    sent = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert sent.pop("extra_body") == {"a_future_field": CHAT["a_future_field"]}
    assert sent | {"a_future_field": CHAT["a_future_field"]} == CHAT
    assert "for chunk in stream" in python["source"]
    assert "a_future_field: { x: [1, null] }" in node["source"]
    assert "for await" in node["source"]


@pytest.mark.parametrize("method", ARGUMENTS)
def test_arguments_are_those_that_the_sdk_takes(method):
    create = openai.OpenAI(api_key="x")
    for name in method.split("."):
        create = getattr(create, name)
    assert set(inspect.signature(create.create).parameters) >= ARGUMENTS[method]


def test_a_message_is_sent_with_the_package_for_messages():
    body = {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "novel": 1}
    shell, python, node = request_tabs(SITE, "/v1/messages", body)
    assert f"{SITE}/v1/messages" in shell["source"]
    compile(python["source"], "snippet", "exec")
    assert f'Anthropic(base_url="{SITE}", ' in python["source"]
    assert "max_tokens=9" in python["source"]
    assert 'extra_body={"novel": 1}' in python["source"]
    assert 'from "@anthropic-ai/sdk"' in node["source"]
    assert set(inspect.signature(anthropic.Anthropic(api_key="x").messages.create).parameters) >= MESSAGE_ARGUMENTS


def test_a_streamed_message_is_shown_as_a_plain_request():
    for tab in request_tabs(SITE, "/v1/messages", {"model": "a/b", "messages": [], "max_tokens": 9, "stream": True}):
        assert "nthropic" not in tab["source"]


def test_the_lines_for_a_new_key_carry_it():
    for tab in key_tabs(SITE, "agr_live_secret"):
        assert "agr_live_secret" in tab["source"]
        assert f"{SITE}/v1" in tab["source"]
