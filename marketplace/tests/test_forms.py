"""A form from an input schema, and the input from the form."""

import base64
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given, settings
from hypothesis import strategies as st

from marketplace.services.controls import (
    SYSTEM,
    WHOLE,
    controls_of,
    example_values,
    faults_of_no_control,
    initial_values,
    values_of,
)
from marketplace.services.forms import example_of_schema, limits_of, properties_of
from marketplace.services.inputs import MAX_FILE_BYTES, input_of_form
from marketplace.services.schemas import check_schema

SCHEMA = {
    "type": "object",
    "required": ["text", "loud"],
    "properties": {
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 1, "x-order": 2},
        "text": {"type": "string", "description": "What to read", "examples": ["Hello"]},
        "short": {"type": "string", "maxLength": 20},
        "loud": {"type": "boolean"},
        "polite": {"type": "boolean", "default": True},
        "voice": {"enum": ["low", 2, None]},
        "size": {"enum": ["S", "M", "L", "XL"], "x-order": 1, "title": "Size of it"},
        "count": {"type": ["integer", "null"], "minimum": 1, "multipleOf": 1},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}},
        "points": {"type": "array", "items": {"type": "number"}},
        "input": {"anyOf": [{"type": "array"}, {"type": "string"}]},
        "options": {"type": "object"},
        "stream": {"type": "boolean"},
    },
}


def of(properties, required=(), **more):
    return {"type": "object", "properties": properties, "required": list(required), **more}


def controls(schema=SCHEMA, **kwargs):
    return {control.name.removeprefix("input."): control for control in controls_of(schema, **kwargs)}


def kind_of(schema, *, name="x", required=True):
    (control,) = controls_of(of({name: schema}, [name] if required else []))
    return control.kind


# --- Controls ---------------------------------------------------------------------------------------------------------


def test_each_property_gets_a_control_required_ones_first():
    check_schema(SCHEMA, takes_object=True)
    found = controls()
    assert list(found)[:4] == ["text", "loud", "size", "temperature"]
    assert {name: control.kind for name, control in found.items()} == {
        "text": "long_text",
        "loud": "boolean",
        "size": "choice",
        "temperature": "number",
        "short": "text",
        "polite": "boolean",
        "voice": "radio",
        "count": "integer",
        "tags": "lines",
        "points": "json",
        "input": "long_text",
        "options": "json",
    }
    assert [name for name, control in found.items() if control.is_main] == ["text", "size", "temperature"]
    assert found["size"].label == "Size of it"
    assert found["temperature"].value == found["temperature"].initial == "1"


def test_hints_say_what_is_wanted():
    found = controls()
    assert found["text"].hint == "Required. What to read."
    assert found["temperature"].hint == "0 to 2."
    assert found["short"].hint == "At most 20 characters."
    assert found["tags"].hint == "One on each line."
    assert found["options"].hint == "Written as JSON."
    assert found["temperature"].attributes == {"min": 0, "max": 2, "step": "any"}
    assert found["count"].attributes == {"min": 1, "step": 1}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minimum": 1, "maximum": 8192}, ["1 to 8,192"]),
        ({"minimum": 0.5}, ["0.5 or more"]),
        ({"exclusiveMinimum": 0, "maximum": 1}, ["up to 1", "above 0"]),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["between 0 and 1"]),
        ({"minLength": 1, "maxLength": 20000}, ["at most 20,000 characters"]),
        ({"minItems": 2, "maxItems": 4}, ["2 to 4 items"]),
        ({"minimum": "low", "maximum": None}, []),
    ],
)
def test_limits_are_said_in_words(schema, words):
    assert list(limits_of(schema)) == words


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string", "format": "uri"}, "text"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "text"),
        ({"type": "string", "format": "password"}, "secret"),
        ({"type": "string", "writeOnly": True}, "secret"),
        ({"type": "string", "contentEncoding": "base64"}, "file"),
        ({"type": "string", "format": "data-url"}, "file"),
        ({"type": ["null", "string"], "format": "binary"}, "file"),
        ({"const": 5}, "fixed"),
        ({"type": "string", "enum": ["only"]}, "radio"),
        ({"enum": [1, 2, 3, 4]}, "choice"),
        ({"type": ["boolean", "null"]}, "choice"),
        ({"anyOf": [{"const": "a"}, {"const": "b"}, {"type": "null"}]}, "radio"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "number"),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, "json"),
        ({"anyOf": [{"type": "number"}, {"type": "string", "maxLength": 9}]}, "text"),
        ({"type": "array", "items": {"type": "string"}, "examples": [["one\ntwo"]]}, "json"),
        ({"type": "array", "items": {"type": "string"}, "default": ["one\ntwo"]}, "json"),
        ({"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}, "json"),
        ({"type": "array", "prefixItems": [{}], "items": {"type": "string"}}, "json"),
        ({"allOf": [{"type": "string"}, {"maxLength": 5}]}, "text"),
        ({"type": "integer", "default": "five"}, "json"),
        ({}, "json"),
        (True, "json"),
    ],
    ids=str,
)
def test_the_kind_of_a_control_follows_the_schema(schema, kind):
    assert kind_of(schema) == kind


def test_a_constant_that_may_be_left_out_is_a_choice():
    (control,) = controls_of(of({"x": {"const": 5}}))
    assert (control.kind, control.choices) == ("choice", (("", "–"), ("5", "5")))


def test_references_are_followed_and_joined():
    schema = {
        "$ref": "#/$defs/input",
        "$defs": {
            "input": of({"text": {"$ref": "#/$defs/text", "description": "Own words"}}, ["text"]),
            "text": {"type": "string", "maxLength": 40, "description": "Their words"},
        },
    }
    check_schema(schema)
    (control,) = controls_of(schema)
    assert (control.kind, control.hint) == ("text", "Required. Own words. At most 40 characters.")
    joined = {"allOf": [of({"a": {"type": "string"}}, ["a"]), of({"b": {"type": "integer"}}, ["b"])]}
    assert [(c.name, c.kind, c.required) for c in controls_of(joined)] == [
        ("input.a", "long_text", True),
        ("input.b", "integer", True),
    ]


def test_alternatives_of_required_properties_change_no_control():
    schema = of({"a": {"type": "integer"}, "b": {"type": "integer"}}, anyOf=[{"required": ["a"]}, {"required": ["b"]}])
    assert list(controls(schema)) == ["a", "b"]


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": {"a": {}}, "oneOf": [{}, {}]}])
def test_other_schemas_are_one_control_of_json(schema):
    (control,) = controls_of(schema)
    assert (control.name, control.kind) == (WHOLE, "json")
    assert input_of_form(schema, {WHOLE: '{"a": 1}'}) == ({"a": 1}, [])
    assert input_of_form(schema, {WHOLE: "[1]"})[1][0]["code"] == "invalid"
    assert input_of_form(schema, {WHOLE: "{"})[1][0]["code"] == "invalid_json"


def test_without_a_required_one_the_first_control_is_in_sight():
    found = controls_of(of({"a": {"type": "object"}, "b": {"type": "integer"}}))
    assert [control.is_main for control in found] == [True, False]


# --- What was sent ----------------------------------------------------------------------------------------------------


def test_the_sent_form_becomes_the_input():
    sent = {
        "input.text": "one\r\ntwo",
        "input.temperature": "0.5",
        "input.short": "",
        "input.loud": "true",
        "input.voice": '"low"',
        "input.count": " 3 ",
        "input.tags": "a \r\n\r\nb",
        "input.points": "[1, 2.5]",
        "input.stream": "true",
        "csrfmiddlewaretoken": "x",
    }
    body, faults = input_of_form(SCHEMA, sent)
    assert faults == []
    assert body == {
        "text": "one\ntwo",
        "temperature": 0.5,
        "loud": True,
        "polite": False,
        "voice": "low",
        "count": 3,
        "tags": ["a ", "b"],
        "points": [1, 2.5],
    }
    assert input_of_form(SCHEMA, {})[0] == {"text": "", "loud": False, "polite": False}


def test_what_is_required_and_left_empty():
    schema = of(
        {
            "text": {"type": "string"},
            "maybe": {"type": ["integer", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "number": {"type": "number"},
            "kind": {"const": "v1"},
        },
        ["text", "maybe", "tags", "number", "kind"],
    )
    assert input_of_form(schema, {}) == ({"text": "", "maybe": None, "tags": [], "kind": "v1"}, [])


@pytest.mark.parametrize(
    ("sent", "pointer", "code", "words"),
    [
        ({"input.temperature": "warm"}, "/temperature", "invalid_json", "Enter a number from 0 to 2."),
        ({"input.temperature": "1e999"}, "/temperature", "number_out_of_range", "Enter a number from 0 to 2."),
        ({"input.count": "NaN"}, "/count", "invalid_json", "Enter a whole number: 1 or more."),
        ({"input.points": '{"a":1,"a":2}'}, "/points", "duplicate_key", "This is not JSON: "),
        ({"input.options": "{'a'}"}, "/options", "invalid_json", "This is not JSON: "),
        ({"input.text": "a\0b"}, "/text", "nul", "NUL characters are not allowed."),
    ],
)
def test_what_cannot_be_read_is_named_and_kept(sent, pointer, code, words):
    _, faults = input_of_form(SCHEMA, sent)
    assert (faults[0]["pointer"], faults[0]["code"]) == (pointer, code)
    shown = controls(values=sent, errors=faults)[pointer[1:]]
    assert shown.errors[0].startswith(words)
    assert shown.value == sent[f"input.{pointer[1:]}"]


@pytest.mark.parametrize(
    ("text", "number"), [(".5", 0.5), ("+7", 7), ("1e3", 1000.0), ("-2", -2), ("9" * 40, int("9" * 40))]
)
def test_numbers_are_read_as_people_and_browsers_write_them(text, number):
    body, faults = input_of_form(of({"n": {"type": "number"}}), {"input.n": text})
    assert (body, faults) == ({"n": number}, [])
    assert type(body["n"]) is type(number)


def test_a_conversation_is_a_message_and_what_the_system_says_first():
    items = of({"role": {"enum": ["system", "user"]}, "content": {"type": "string"}}, ["role", "content"])
    schema = of({"messages": {"type": "array", "items": items}}, ["messages"])
    found = controls_of(schema)
    assert [(control.name, control.kind, control.is_main) for control in found] == [
        ("input.messages", "message", True),
        (SYSTEM, "long_text", False),
    ]
    assert input_of_form(schema, {"input.messages": "Hi", SYSTEM: " "})[0] == {
        "messages": [{"role": "user", "content": "Hi"}]
    }
    body, _ = input_of_form(schema, {"input.messages": "Hi", SYSTEM: "Be brief."})
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert values_of(body, properties_of(schema)) == {"input.messages": "Hi", SYSTEM: "Be brief."}
    assert input_of_form(schema, {"input.messages": " "})[1][0]["code"] == "required"
    items["properties"]["role"]["enum"] = ["user", "assistant"]
    assert len(controls_of(schema)) == 1


def test_messages_of_another_shape_are_json():
    assert kind_of({"type": "array", "items": {"type": "string"}}, name="messages") == "lines"
    assert kind_of({"type": "array", "items": of({"text": {}})}, name="messages") == "json"


PICTURE = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}


def upload(content=b"\x89PNG", name="a.png", content_type="image/png"):
    return {"input.x": SimpleUploadedFile(name, content, content_type)}


def test_a_file_becomes_the_text_that_the_schema_wants():
    (control,) = controls_of(of({"x": PICTURE}, ["x"]))
    assert (control.kind, control.attributes, control.is_shareable) == ("file", {"accept": "image/png"}, False)
    encoded = base64.b64encode(b"\x89PNG").decode()
    assert input_of_form(of({"x": PICTURE}), {}, upload()) == ({"x": encoded}, [])
    schema = of({"x": {"type": "string", "format": "data-url", "contentMediaType": "image/*"}})
    assert input_of_form(schema, {}, upload())[0] == {"x": f"data:image/png;base64,{encoded}"}
    unnamed = upload(content_type="application/octet-stream")
    assert input_of_form(schema, {}, unnamed)[0] == {"x": f"data:image/png;base64,{encoded}"}
    assert input_of_form(of({"x": PICTURE}), {}) == ({}, [])
    assert input_of_form(of({"x": PICTURE}, ["x"]), {"input.x": "typed"}) == ({}, [])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (upload(content_type="text/html", name="a.html"), "media_type"),
        (upload(content=b"x" * (MAX_FILE_BYTES + 1)), "too_large"),
    ],
)
def test_a_file_of_another_type_or_too_large_is_refused(sent, code):
    body, faults = input_of_form(of({"x": PICTURE}), {}, sent)
    assert (body, faults[0]["code"], faults[0]["pointer"]) == ({}, code, "/x")


def test_a_secret_is_never_shown_again():
    (control,) = controls_of(of({"x": {"type": "string", "format": "password"}}), {"input.x": "hush"})
    assert (control.value, control.is_shareable) == ("", False)


# --- Faults -----------------------------------------------------------------------------------------------------------


def test_faults_without_a_control_are_told_apart():
    errors = [
        {"pointer": "/text", "code": "x", "detail": "at the field"},
        {"pointer": "/elsewhere/0", "code": "x", "detail": "deep"},
        {"pointer": "", "code": "x", "detail": "all of it"},
    ]
    assert faults_of_no_control(SCHEMA, errors) == ["/elsewhere/0: deep", "all of it"]


def test_faults_say_what_to_do():
    errors = [
        {"pointer": "/short", "code": "max_length", "detail": "This value is longer than 20 characters."},
        {"pointer": "/size", "code": "enum", "detail": "This value is not one of …"},
        {"pointer": "/options/a", "code": "type", "detail": "Not a string."},
        {"pointer": "/loud", "code": "required", "detail": "…"},
    ]
    found = controls(errors=errors)
    assert found["short"].errors == ("At most 20 characters.",)
    assert found["size"].errors == ("Choose one of the values.",)
    assert found["options"].errors == ("/a: Not a string.",)
    assert found["loud"].errors == ("This field is required.",)


# --- Examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        (SCHEMA, {"text": "Hello", "loud": False}),
        ({"type": "object", "examples": [{"text": "Hi"}]}, {"text": "Hi"}),
        (of({"n": {"type": "array", "items": {}}}, ["n"]), {"n": [{}]}),
        (of({"n": {"type": ["null", "string"]}, "k": {"const": 1}}, ["n", "k"]), {"n": "text", "k": 1}),
        ({"$ref": "#/$defs/a", "$defs": {"a": of({"n": {"type": "integer", "minimum": 4}}, ["n"])}}, {"n": 4}),
        ({}, {}),
    ],
    ids=str,
)
def test_an_example_is_the_schemas_own_or_built_from_what_is_required(schema, example):
    assert example_of_schema(schema) == example
    json.dumps(example)


def test_an_example_fills_the_form():
    assert example_values(SCHEMA)["input.text"] == "Hello"
    assert example_values(SCHEMA)["input.temperature"] == "1"
    schema = SCHEMA | {"examples": [{"text": "One"}, {"text": "Two", "tags": ["a", "b"], "voice": None}]}
    assert [example_values(schema, number)["input.text"] for number in range(3)] == ["One", "Two", "One"]
    assert example_values(schema, 1) == initial_values(schema) | {
        "input.text": "Two",
        "input.tags": "a\nb",
        "input.voice": "null",
    }


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))
VALUES = {
    "text": PLAIN.filter(str.strip),
    "short": PLAIN.filter(lambda text: text.strip() and "\n" not in text),
    "temperature": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20),
    "loud": st.booleans(),
    "polite": st.booleans(),
    "voice": st.sampled_from(["low", 2, None]),
    "count": st.integers(-(10**20), 10**20),
    "tags": st.lists(PLAIN.filter(lambda text: text.strip() and "\n" not in text), min_size=1),
    "options": st.dictionaries(PLAIN, st.none() | st.booleans() | PLAIN, max_size=3),
}


@settings(max_examples=100, deadline=None)
@given(
    body=st.fixed_dictionaries(
        {"text": VALUES["text"], "loud": VALUES["loud"]},
        optional={k: v for k, v in VALUES.items() if k not in ("text", "loud")},
    )
)
def test_an_input_survives_the_way_through_the_form(body):
    values = values_of(body, properties_of(SCHEMA))
    found, faults = input_of_form(SCHEMA, values)
    assert faults == []
    assert found == {"polite": False} | body
