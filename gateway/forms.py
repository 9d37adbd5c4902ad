"""The playground's form: what a person filled in, and the call that a program would make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import msgspec

from common.problems import FieldError, ValidationFailed
from gateway.adapters import count_tokens
from gateway.adapters.anthropic import USUAL_MAX_TOKENS
from gateway.hotpath.rules import KINDS, max_output_tokens, most_of
from gateway.hotpath.snapshot import Schema
from gateway.hotpath.wire import MAX_BODY_BYTES
from gateway.models import Endpoint, Invocation
from marketplace.models import AIModel
from marketplace.services import typical_cost
from marketplace.services.controls import (
    Control,
    controls_of,
    example_values,
    examples_of,
    faults_of_no_control,
    first_token,
    initial_values,
)
from marketplace.services.forms import resolved
from marketplace.services.inputs import Upload, input_of_form
from marketplace.services.pricing import cost_of
from marketplace.services.schemas import steps_of, validator_for

MAX_LINK = 4000  # characters; proxies refuse lines of more than 8,000, and a log-in's `next` encodes it again
MAX_SHOWN_BYTES = 32 * 1024  # of a request; of larger ones the long texts are cut
SHOWN_CHARACTERS = 200
STREAM = "stream"  # the name of the box to tick
PATHS: dict[str, str] = {kind: path for path, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A call as a program makes it."""

    path: str
    kind: str
    body: dict[str, Any]

    @property
    def size(self) -> int:
        return len(msgspec.json.encode(self.body))

    @property
    def shown(self) -> Any:
        """The body for people: as it is, unless it is too long to be read."""
        return self.body if self.size <= MAX_SHOWN_BYTES else _shortened(self.body)

    @property
    def is_shortened(self) -> bool:
        return self.size > MAX_SHOWN_BYTES

    @property
    def json(self) -> str:
        return json.dumps(self.shown, ensure_ascii=False, indent=2)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value[:SHOWN_CHARACTERS]]
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]}… ({len(value):,} characters)"
    return value


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call will cost, in nano-units. `most` is what is held for it as it is filled in.

    `about` is None where nothing says it; `is_usual`: it is of what others sent, as long as nothing is filled in.
    """

    about: int | None
    most: int
    is_usual: bool = False


class PlaygroundForm:
    """The form of one model. `values` are those of a form that was sent, or what it shall show at first."""

    max_link = MAX_LINK

    def __init__(
        self,
        ai_model: AIModel,
        endpoint: Endpoint | None,
        *,
        values: Mapping[str, str] | None = None,
        files: Mapping[str, Upload] | None = None,
        is_streamed: bool = True,
    ) -> None:
        self._ai_model, self._endpoint, self._values = ai_model, endpoint, values
        version = ai_model.current_version
        self.schema: dict[str, Any] = version.input_schema if version else {}
        self._root = resolved(self.schema, self.schema)
        self.is_streamed = is_streamed and self.can_stream
        self._input, self.faults = input_of_form(self.schema, values or initial_values(self.schema), files)

    @classmethod
    def prefilled(cls, ai_model: AIModel, endpoint: Endpoint | None, query: Mapping[str, str]) -> PlaygroundForm:
        """As a link asks for it: with an example, or with the values that the link carries."""
        schema = ai_model.current_version.input_schema if ai_model.current_version else {}
        if "example" in query:
            number = query["example"]
            values = example_values(schema, int(number) if number.isdecimal() and len(number) < 4 else 0)
        else:
            given = {c.name: query[c.name].replace("\r\n", "\n") for c in controls_of(schema) if _takes(c, query)}
            values = initial_values(schema) | given
        return cls(ai_model, endpoint, values=values, is_streamed=query.get(STREAM) != "")

    # --- What is shown ---

    def controls(self, errors: list[FieldError] | None = None) -> list[Control]:
        return controls_of(self.schema, self._values, self.faults if errors is None else errors)

    def faults_elsewhere(self, errors: list[FieldError]) -> list[str]:
        return faults_of_no_control(self.schema, errors)

    @property
    def is_untouched(self) -> bool:
        """Whether it shows the defaults."""
        return self._values is None or self._values == initial_values(self.schema)

    @property
    def example_count(self) -> int:
        return len(examples_of(self.schema))

    @cached_property
    def can_stream(self) -> bool:
        """Whether the answer may come bit by bit here: what speaks OpenAI's protocol, and takes `stream`."""
        return self._kind in (Invocation.Kind.CHAT, Invocation.Kind.COMPLETION) and self._takes("stream")

    @property
    def query(self) -> str:
        """The values that differ from the defaults, for a link; empty when they are none, or too long."""
        pairs = [(c.name, c.value) for c in self.controls([]) if c.is_shareable and c.value != c.initial]
        if self.can_stream and not self.is_streamed:
            pairs.append((STREAM, ""))
        return found if len(found := urlencode(pairs)) <= MAX_LINK else ""

    # --- What is asked ---

    @cached_property
    def request(self) -> ModelRequest:
        slug = f"{self._ai_model.publisher.slug}/{self._ai_model.slug}"
        path = PATHS.get(self._kind)
        if path is None or not self._takes("model"):
            invoke = f"/api/models/{slug.replace('/', ':')}/invoke"
            return ModelRequest(invoke, self._kind, self._input)
        streamed = {"stream": True} if self.is_streamed else {}
        bound = {"max_tokens": USUAL_MAX_TOKENS} if self._kind == Invocation.Kind.MESSAGES else {}
        return ModelRequest(path, self._kind, {"model": slug, **bound, **self._input, **streamed})

    def check(self) -> list[FieldError]:
        """Everything wrong with the input: what could not be read, and what does not fit the schema."""
        request, version = self.request, self._ai_model.current_version
        if request.size > MAX_BODY_BYTES:
            return [{"pointer": "", "code": "too_large", "detail": f"The input is larger than {MAX_BODY_BYTES} bytes."}]
        if version is None:
            return self.faults
        schema = Schema(validator_for(version.id, "input", self.schema), steps_of(self.schema))
        unread = {first_token(fault["pointer"]) for fault in self.faults}
        if unread == {""}:
            return self.faults
        found = schema.violations(request.body, request.size)
        return self.faults + [fault for fault in found if first_token(fault["pointer"]) not in unread]

    @property
    def estimate(self) -> Estimate | None:
        """None where there is no price, or where no budget could hold what the call may cost."""
        price, request = self._ai_model.price, self.request
        if price is None or self._endpoint is None:
            return None
        try:
            most = most_of(price, self._endpoint.max_cost_nano, request.kind, request.body, request.size)
        except ValidationFailed:
            return None
        if self.is_untouched and (typical := typical_cost(self._ai_model)) not in (None, most):
            return Estimate(typical, most, is_usual=True)
        tokens = 0
        if price.output_nano_per_million and request.kind != Invocation.Kind.EMBEDDING:
            measured = self._ai_model.measured
            typical = None if measured is None else measured.typical_output_tokens
            if typical is None:
                return Estimate(None, most)
            tokens = min(typical, max_output_tokens(request.kind, request.body))
        said = count_tokens(_text_bytes({name: value for name, value in request.body.items() if name != "model"}))
        return Estimate(min(cost_of(price, input_tokens=said, output_tokens=tokens), most), most)

    @cached_property
    def _kind(self) -> str:
        if self._endpoint is not None and self._endpoint.protocol == Endpoint.Protocol.ANTHROPIC:
            return Invocation.Kind.MESSAGES
        if self._endpoint is None or self._endpoint.protocol != Endpoint.Protocol.OPENAI:
            return Invocation.Kind.INVOKE
        known = self._root.get("properties") or {}
        if "messages" in known:
            return Invocation.Kind.CHAT
        return Invocation.Kind.EMBEDDING if "input" in known else Invocation.Kind.COMPLETION

    def _takes(self, name: str) -> bool:
        """Whether the schema lets a property of this name pass."""
        return name in (self._root.get("properties") or {}) or self._root.get("additionalProperties", True) is not False


def _takes(control: Control, query: Mapping[str, str]) -> bool:
    return control.is_shareable and control.name in query


def _text_bytes(value: Any) -> int:
    """The bytes of all texts within a value."""
    if isinstance(value, str):
        return len(value.encode())
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(_text_bytes(one) for one in inner)
