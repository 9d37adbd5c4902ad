"""What strangers may write as JSON Schema, and what is said about a value that does not fit."""

import time

import pytest

from common.ids import uuid7
from marketplace.services.schemas import DIALECT, MAX_VIOLATIONS, UnfitSchema, check_schema, validator_for, violations


def chain(length, width=1):
    """References one behind the other, each followed `width` times."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n - 1}"}] * width} for n in range(1, length)}
    return {"$defs": {"s0": {"type": "string"}, **steps}, "$ref": f"#/$defs/s{length - 1}"}


ACCEPTED = [
    {},
    {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}},
    {"type": ["object", "null"]},
    {"$schema": DIALECT, "$id": "https://example.org/in", "properties": {"a": {"$ref": "#/$defs/a%20b"}}}
    | {"$defs": {"a b": {"type": "integer"}}},
    {"properties": {"$ref": {"type": "string"}, "pattern": {"enum": ["(?=x)", {"$ref": "https://example.org"}]}}},
    {"default": {"$ref": "https://example.org"}, "examples": [{"$anchor": "x"}]},
    chain(30),
]
REFUSED = [
    ([], "", "invalid_schema"),
    (True, "", "invalid_schema"),
    ({"type": "strin"}, "/type", "invalid_schema"),
    ({"allOf": 5}, "/allOf", "invalid_schema"),
    ({"type": "string"}, "/type", "not_an_object"),
    ({"properties": {"a": {"pattern": r"(a)\1"}}}, "/properties/a/pattern", "unsupported_pattern"),
    ({"patternProperties": {"(?=x)y": {}}}, "/patternProperties/(?=x)y", "unsupported_pattern"),
    ({"properties": {"a": {"pattern": "a{1000}{1000}"}}}, "/properties/a/pattern", "unsupported_pattern"),
    ({"$ref": "https://example.org/schema.json"}, "/$ref", "remote_reference"),
    ({"properties": {"a/b": {"$ref": "other.json#/a"}}}, "/properties/a~1b/$ref", "remote_reference"),
    ({"$defs": {"a": {"$ref": "file:///etc/passwd"}}}, "/$defs/a/$ref", "remote_reference"),
    ({"$ref": 5}, "/$ref", "remote_reference"),
    ({"properties": {"a": {"$dynamicRef": "#a"}}}, "/properties/a/$dynamicRef", "unsupported_keyword"),
    ({"properties": {"a": {"$id": "https://example.org/a"}}}, "/properties/a/$id", "unsupported_keyword"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "unsupported_dialect"),
    ({"$ref": "#/$defs/none"}, "", "unknown_reference"),
    ({"$ref": "#"}, "", "recursive_reference"),
    ({"properties": {"next": {"$ref": "#"}}}, "", "recursive_reference"),
    (chain(40, width=2), "", "too_complex"),
    (chain(300), "", "too_complex"),
    ({"enum": list(range(6000))}, "", "too_complex"),
    ({"description": "x" * 70_000}, "", "too_large"),
]


@pytest.mark.parametrize("schema", ACCEPTED, ids=lambda schema: str(schema)[:50])
def test_honest_schemas_are_accepted(schema):
    check_schema(schema, takes_object=True)


@pytest.mark.parametrize(("schema", "pointer", "code"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_could_be_turned_against_the_site_is_refused_with_its_place(schema, pointer, code):
    began = time.process_time()
    with pytest.raises(UnfitSchema) as refused:
        check_schema(schema, takes_object=True)
    assert (refused.value.pointer, refused.value.code) == (pointer, code)
    assert time.process_time() - began < 0.25


def test_an_unsupported_pattern_is_named():
    with pytest.raises(UnfitSchema, match=r"“\(\?<!a\)b”"):
        check_schema({"properties": {"a": {"pattern": "(?<!a)b"}}})


def test_catastrophic_patterns_match_in_linear_time():
    validator = validator_for(uuid7(), "input", {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    began = time.process_time()
    assert violations(validator, {"a": "a" * 100_000 + "!"})
    assert time.process_time() - began < 0.25


def test_each_violation_has_a_pointer_a_code_and_a_sentence_without_the_value():
    schema = {
        "type": "object",
        "required": ["text", "a/b"],
        "properties": {
            "text": {"type": "string", "maxLength": 3},
            "list": {"items": {"type": "integer", "exclusiveMinimum": 2}},
            "kind": {"enum": ["x", "y"]},
        },
        "additionalProperties": False,
    }
    validator = validator_for(uuid7(), "input", schema)
    found = violations(validator, {"text": "secret", "list": [3, "secret", 2], "kind": "secret", "more~": 1})
    assert {(fault["pointer"], fault["code"]) for fault in found} == {
        ("/text", "max_length"),
        ("/a~1b", "required"),
        ("/list/1", "type"),
        ("/list/2", "exclusive_minimum"),
        ("/kind", "enum"),
        ("/more~0", "unknown_field"),
    }
    assert "secret" not in str(found)
    assert violations(validator, {"text": "abc", "a/b": None}) != []
    assert violations(validator_for(uuid7(), "input", {}), {"anything": [1]}) == []


def test_many_violations_cost_little_and_few_are_told():
    validator = validator_for(uuid7(), "input", {"properties": {"list": {"items": {"type": "integer"}}}})
    began = time.process_time()
    found = violations(validator, {"list": ["x"] * 200_000})
    assert time.process_time() - began < 0.25
    assert [fault["pointer"] for fault in found] == ["/list/0"]
    assert len(violations(validator, {"list": ["x"] * 100})) == MAX_VIOLATIONS


def test_a_compiled_schema_is_kept_until_the_schema_changes():
    id = uuid7()
    first = validator_for(id, "input", {"type": "object"})
    assert validator_for(id, "input", {"type": "object"}) is first
    assert validator_for(id, "output", {"type": "object"}) is not first
    changed = validator_for(id, "input", {"type": "object", "required": ["a"]})
    assert violations(changed, {}) != []
