"""The lines that people copy: they must parse, and carry this instance's address."""

import ast
import json
import shlex

import pytest

from config.snippets import call_tabs, key_tabs

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


def test_the_lines_for_a_new_key_carry_it():
    for tab in key_tabs(SITE, "agr_live_secret"):
        assert "agr_live_secret" in tab["source"]
        assert f"{SITE}/v1" in tab["source"]
