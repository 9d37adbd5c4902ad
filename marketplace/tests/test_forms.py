"""A form from an input schema, and the input from the form."""

import json

import pytest

from marketplace.services.forms import WHOLE, body_of_form, example_of_schema, faults_of_no_field, form_of_schema
from marketplace.services.schemas import check_schema

SCHEMA = {
    "type": "object",
    "required": ["text", "loud"],
    "properties": {
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
        "text": {"type": "string", "description": "What to read.", "examples": ["Hello"]},
        "short": {"type": "string", "maxLength": 20},
        "loud": {"type": "boolean"},
        "polite": {"type": "boolean", "default": True},
        "voice": {"enum": ["low", 2, None]},
        "count": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "input": {"anyOf": [{"type": "array"}, {"type": "string"}]},
        "stream": {"type": "boolean"},
    },
}


def fields(schema=SCHEMA, **kwargs):
    return {field.name.removeprefix("input."): field for field in form_of_schema(schema, **kwargs)}


def test_each_property_gets_a_control_required_ones_first():
    check_schema(SCHEMA, takes_object=True)
    found = fields()
    assert list(found)[:2] == ["text", "loud"]
    assert {name: field.kind for name, field in found.items()} == {
        "text": "long_text",
        "loud": "boolean",
        "temperature": "number",
        "short": "text",
        "polite": "boolean",
        "voice": "choice",
        "count": "integer",
        "tags": "json",
        "input": "long_text",
    }
    assert found["text"].required
    assert (found["text"].value, found["text"].hint) == ("Hello", "What to read.")
    assert found["temperature"].attributes == {"min": 0, "max": 2, "step": "any"}
    assert found["short"].attributes == {"maxlength": 20}
    assert found["voice"].choices == (('"low"', "low"), ("2", "2"), ("", "null"))


def test_the_sent_form_becomes_the_input():
    sent = {
        "input.text": "one\r\ntwo",
        "input.temperature": "0.5",
        "input.short": "",
        "input.loud": "true",
        "input.voice": '"low"',
        "input.count": " 3 ",
        "input.tags": '["a", "b"]',
        "input.stream": "true",
        "csrfmiddlewaretoken": "x",
    }
    body, faults = body_of_form(SCHEMA, sent)
    assert faults == []
    assert body == {
        "text": "one\ntwo",
        "temperature": 0.5,
        "loud": True,
        "polite": False,
        "voice": "low",
        "count": 3,
        "tags": ["a", "b"],
    }
    assert body_of_form(SCHEMA, {})[0] == {"text": "", "loud": False, "polite": False}


@pytest.mark.parametrize(
    ("sent", "pointer", "code"),
    [
        ({"input.temperature": "warm"}, "/temperature", "invalid_json"),
        ({"input.count": "NaN"}, "/count", "number_out_of_range"),
        ({"input.tags": '{"a":1,"a":2}'}, "/tags", "duplicate_key"),
        ({"input.text": "a\0b"}, "/text", "nul"),
    ],
)
def test_what_cannot_be_read_is_named(sent, pointer, code):
    _, faults = body_of_form(SCHEMA, sent)
    assert (faults[0]["pointer"], faults[0]["code"]) == (pointer, code)
    shown = fields(values=sent, errors=faults)[pointer[1:]]
    assert shown.errors == (faults[0]["detail"],)
    assert shown.value == sent[f"input.{pointer[1:]}"]


def test_a_conversation_is_its_first_message():
    schema = {"type": "object", "required": ["messages"], "properties": {"messages": {"type": "array"}}}
    assert fields(schema)["messages"].kind == "message"
    assert body_of_form(schema, {"input.messages": "Hi"})[0] == {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": {"a": {}}, "oneOf": [{}, {}]}])
def test_other_schemas_are_one_field_of_json(schema):
    (field,) = form_of_schema(schema)
    assert (field.name, field.kind) == (WHOLE, "json")
    assert body_of_form(schema, {WHOLE: '{"a": 1}'}) == ({"a": 1}, [])
    assert body_of_form(schema, {WHOLE: "[1]"})[1][0]["code"] == "invalid"
    assert body_of_form(schema, {WHOLE: "{"})[1][0]["code"] == "invalid_json"


def test_faults_without_a_control_are_told_apart():
    errors = [
        {"pointer": "/text", "code": "x", "detail": "at the field"},
        {"pointer": "/elsewhere/0", "code": "x", "detail": "deep"},
        {"pointer": "", "code": "x", "detail": "all of it"},
    ]
    assert faults_of_no_field(SCHEMA, errors) == ["/elsewhere/0: deep", "all of it"]


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        (SCHEMA, {"text": "Hello", "loud": False}),
        ({"type": "object", "examples": [{"text": "Hi"}]}, {"text": "Hi"}),
        ({"type": "object", "required": ["n"], "properties": {"n": {"type": "array", "items": {}}}}, {"n": [{}]}),
        ({}, {}),
    ],
    ids=str,
)
def test_an_example_is_the_schemas_own_or_built_from_what_is_required(schema, example):
    assert example_of_schema(schema) == example
    json.dumps(example)
