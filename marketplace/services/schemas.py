"""JSON Schemas of models: what publishers may write, and whether a value fits.

Accepted is draft 2020-12 without what a stranger could turn against the site: references to elsewhere, references that
lead back to themselves, patterns that need backtracking, and schemas whose check takes more than `MAX_STEPS` per value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal
from uuid import UUID

from jsonschema_rs import Draft202012Validator, ReferencingError, RegexOptions, ValidationError, ValidationErrorKind

from common.problems import FieldError, escape_pointer

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_BYTES = 64 * 1024
MAX_STEPS = 5_000
MAX_DEPTH = 100  # references followed
MAX_PATTERN_BYTES = 256 * 1024  # compiled
MAX_VIOLATIONS = 50
SMALL_VALUES = 2_000
MAX_CACHED = 4096

Side = Literal["input", "output"]
Schema = dict[str, Any]

ONE = (
    "additionalProperties",
    "propertyNames",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
)
LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
MAP = ("properties", "patternProperties", "dependentSchemas")
DEFINITIONS = ("$defs", "definitions")
NOT_HERE = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef", "$vocabulary")


class UnfitSchema(ValueError):
    """`pointer` says where in the schema; `code` and `detail` are for its author."""

    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer, self.code, self.detail = pointer, code, detail


# --- What publishers may write ----------------------------------------------------------------------------------------


def check_schema(schema: Any, *, takes_object: bool = False) -> None:
    """Raises UnfitSchema for the first thing that a publisher has to change.

    takes_object: what the schema describes is a request body, so it must not exclude objects.
    """
    if not isinstance(schema, dict):
        raise UnfitSchema("", "invalid_schema", "Send a JSON Schema as an object.")
    if len(json.dumps(schema, ensure_ascii=False).encode()) > MAX_SCHEMA_BYTES:
        raise UnfitSchema("", "too_large", f"A schema may have at most {MAX_SCHEMA_BYTES:,} bytes.")
    if schema.get("$schema", DIALECT) != DIALECT:
        raise UnfitSchema("/$schema", "unsupported_dialect", f"Schemas are read as {DIALECT}.")
    for pointer, node in _nodes(schema, ""):
        _check_keywords(node, pointer)
    steps = _steps(schema, schema, {}, [])
    if steps > MAX_STEPS:
        detail = f"Checking one value would take {steps:,} steps, and at most {MAX_STEPS:,} are accepted."
        raise UnfitSchema("", "too_complex", detail)
    try:
        _compile(schema)
    except ValidationError as error:
        raise _compile_fault(error) from None
    except (ReferencingError, ValueError) as error:
        raise UnfitSchema("", "invalid_schema", _first_line(str(error))) from None
    if takes_object and "object" not in _types(schema):
        raise UnfitSchema("/type", "not_an_object", "The input is a JSON object: write “type”: “object”.")


def _types(schema: Schema) -> list[Any]:
    kind = schema.get("type", "object")
    return kind if isinstance(kind, list) else [kind]


def _children(node: Schema) -> Iterator[tuple[str, Any]]:
    """The schemas directly within a schema, with the rest of their pointers. Data (`enum`, `default`) is none."""
    for name in ONE:
        if name in node:
            yield f"/{name}", node[name]
    for name in LIST:
        if isinstance(found := node.get(name), list):
            yield from ((f"/{name}/{position}", inner) for position, inner in enumerate(found))
    for name in MAP:
        if isinstance(found := node.get(name), dict):
            yield from ((f"/{name}/{escape_pointer(key)}", inner) for key, inner in found.items())


def _nodes(node: Any, pointer: str) -> Iterator[tuple[str, Schema]]:
    if not isinstance(node, dict):
        return
    yield pointer, node
    for rest, inner in _children(node):
        yield from _nodes(inner, pointer + rest)
    for name in DEFINITIONS:
        if isinstance(found := node.get(name), dict):
            for key, inner in found.items():
                yield from _nodes(inner, f"{pointer}/{name}/{escape_pointer(key)}")


def _check_keywords(node: Schema, pointer: str) -> None:
    for name in NOT_HERE:
        if name in node:
            raise UnfitSchema(f"{pointer}/{name}", "unsupported_keyword", f"{name} is not supported here.")
    if pointer and "$id" in node:
        raise UnfitSchema(f"{pointer}/$id", "unsupported_keyword", "$id is supported at the top of a schema only.")
    reference = node.get("$ref", "#")
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        detail = "References lead to another place in the same schema: “#/$defs/name”. Nothing is fetched."
        raise UnfitSchema(f"{pointer}/$ref", "remote_reference", detail)


def steps_of(schema: Schema) -> int:
    """On how many schemas one value is tried at most. For a schema that `check_schema` accepted."""
    return _steps(schema, schema, {}, [])


def _steps(node: Any, root: Schema, known: dict[int, int], path: list[int]) -> int:
    """How many schemas are tried for one value at most, references followed. Raises UnfitSchema for a circle."""
    if not isinstance(node, dict):
        return 1
    if id(node) in known:
        return known[id(node)]
    if id(node) in path:
        raise UnfitSchema("", "recursive_reference", "A reference leads back to itself, which is not accepted here.")
    if len(path) >= MAX_DEPTH:
        raise UnfitSchema("", "too_complex", f"At most {MAX_DEPTH} schemas may stand within each other.")
    path.append(id(node))
    total = 1 + sum(_steps(inner, root, known, path) for _, inner in _children(node))
    if isinstance(options := node.get("enum"), list):
        total += len(options)
    if isinstance(reference := node.get("$ref"), str):
        total += _steps(resolve(root, reference), root, known, path)
    path.pop()
    known[id(node)] = total
    return total


def resolve(root: Schema, reference: str) -> Any:
    """What a local reference leads to. Raises UnfitSchema when it is nothing."""
    found: Any = root
    try:
        for token in reference.removeprefix("#").split("/")[1:]:
            token = _unquote(token).replace("~1", "/").replace("~0", "~")
            found = found[int(token)] if isinstance(found, list) else found[token]
    except (KeyError, IndexError, TypeError, ValueError):
        raise UnfitSchema("", "unknown_reference", f"“{reference[:100]}” leads to nothing in this schema.") from None
    return found


def _unquote(token: str) -> str:
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), token)


def _compile_fault(error: ValidationError) -> UnfitSchema:
    pointer = _pointer(error.instance_path)
    kind = error.kind
    if isinstance(kind, ValidationErrorKind.Format):
        pattern = str(error.instance)
        why = "it is faulty, too large, or needs backreferences or lookaround"
        detail = f"The pattern “{pattern[:100]}” is not supported: {why}."
        return UnfitSchema(pointer, "unsupported_pattern", detail)
    return UnfitSchema(pointer, "invalid_schema", f"Not a JSON Schema: {_first_line(error.message)}")


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:300]


# --- Whether a value fits ---------------------------------------------------------------------------------------------

_cache: dict[tuple[UUID, Side], tuple[Schema, Draft202012Validator]] = {}


def validator_for(version_id: UUID, side: Side, schema: Schema) -> Draft202012Validator:
    """The compiled schema of one side of a version; kept, and compiled again if a draft's schema has changed."""
    known = _cache.get((version_id, side))
    if known is not None and (known[0] is schema or known[0] == schema):
        return known[1]
    if len(_cache) >= MAX_CACHED:
        _cache.clear()
    validator = _compile(schema)
    _cache[version_id, side] = schema, validator
    return validator


def _compile(schema: Schema) -> Draft202012Validator:
    patterns = RegexOptions(size_limit=MAX_PATTERN_BYTES, dfa_size_limit=4 * MAX_PATTERN_BYTES)
    return Draft202012Validator(schema, pattern_options=patterns, offline=True, mask="this value")


def violations(validator: Draft202012Validator, instance: Any) -> list[FieldError]:
    """What is wrong with `instance`, at most `MAX_VIOLATIONS`; empty if it fits. Quotes nothing of the instance.

    Of a large instance it is the first thing only: to collect 200,000 errors takes seconds.
    """
    try:
        validator.validate(instance)
    except ValidationError as first:
        errors = validator.iter_errors(instance) if _is_small(instance) else iter([first])
        return list(islice((fault for error in errors for fault in _faults(error)), MAX_VIOLATIONS))
    return []


def _is_small(instance: Any) -> bool:
    left, count = [instance], 0
    while left and count <= SMALL_VALUES:
        value = left.pop()
        if isinstance(value, dict | list):
            count += len(value)
            left.extend(value.values() if isinstance(value, dict) else value)
    return count <= SMALL_VALUES


def _faults(error: ValidationError) -> Iterator[FieldError]:
    pointer = _pointer(error.instance_path)
    kind = error.kind
    match kind:
        case ValidationErrorKind.Required():
            name = escape_pointer(kind.property)
            yield {"pointer": f"{pointer}/{name}", "code": "required", "detail": "This field is required."}
        case ValidationErrorKind.AdditionalProperties() | ValidationErrorKind.UnevaluatedProperties():
            for name in kind.unexpected:
                detail = "The schema has no such field."
                yield {"pointer": f"{pointer}/{escape_pointer(name)}", "code": "unknown_field", "detail": detail}
        case _:
            message = _first_line(error.message)
            yield {"pointer": pointer, "code": _snake(kind.name), "detail": f"{message[:1].upper()}{message[1:]}."}


def _pointer(path: list[Any]) -> str:
    return "".join(f"/{escape_pointer(token)}" for token in path)


def _snake(name: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
