"""OpenAI's chat completions, answered by ELIZA: what a request may hold, and what comes back."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from examples.model_server import eliza, tokens
from examples.model_server.errors import invalid

MODEL = "eliza"
MAX_CHARACTERS = 200_000
MAX_STOPS = 4
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
RANGES = {"temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2)}

# Ignoring these would change what the caller gets without a word, so they are refused unless they ask for the usual.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "tools": (None, []),
    "functions": (None, []),
    "logprobs": (None, False),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    contents: list[str]  # of every message, for counting
    turns: list[str]  # of the person
    max_tokens: int | None
    stop: list[str]
    stream: bool
    include_usage: bool
    seed: int


@dataclass(slots=True)
class Completion:
    """One answer: its text in tokens, and the figures that are charged for."""

    model: str
    pieces: list[str]
    finish_reason: str
    prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def usage(self) -> dict[str, int]:
        completion_tokens = len(self.pieces)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        }

    def body(self) -> dict[str, object]:
        message = {"role": "assistant", "content": "".join(self.pieces), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage}

    def chunks(self, *, include_usage: bool) -> Iterator[dict[str, object]]:
        """The answer token by token; `include_usage` adds a last chunk without choices that reports the usage."""
        head = self._head("chat.completion.chunk") | ({"usage": None} if include_usage else {})
        deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": piece}, None) for piece in self.pieces]
        deltas += [({}, self.finish_reason)]
        for delta, finish_reason in deltas:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            yield {**head, "choices": [choice]}
        if include_usage:
            yield {**head, "choices": [], "usage": self.usage}

    def _head(self, kind: str) -> dict[str, object]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def complete(request: ChatRequest) -> Completion:
    text = eliza.respond(request.turns, seed=request.seed)
    for stop in request.stop:
        text = text.partition(stop)[0]
    pieces, finish_reason = tokens.split(text), "stop"
    if request.max_tokens is not None and len(pieces) > request.max_tokens:
        pieces, finish_reason = pieces[: request.max_tokens], "length"
    return Completion(request.model, pieces, finish_reason, tokens.count_prompt(request.contents))


def read_request(body: dict[str, Any]) -> ChatRequest:
    """Raises Refused. Fields that OpenAI may add later are passed over."""
    for name, usual in UNSUPPORTED.items():
        if body.get(name) not in usual:
            raise invalid(
                name, f"ELIZA does not support {name}={json.dumps(body[name])[:80]}.", code="unsupported_value"
            )
    for name, (low, high) in RANGES.items():
        value = body.get(name)
        if value is not None and not (_is_number(value) and low <= value <= high):
            raise invalid(name, f"{name} must be a number from {low} to {high}.")
    stream = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not (stream and isinstance(options, dict)):
        raise invalid("stream_options", "stream_options must be an object, and only goes with stream: true.")
    contents, turns = _messages(body.get("messages"))
    max_tokens = _integer(body, "max_completion_tokens", low=1)
    return ChatRequest(
        model=read_model(body),
        contents=contents,
        turns=turns,
        max_tokens=_integer(body, "max_tokens", low=1) if max_tokens is None else max_tokens,
        stop=_stops(body.get("stop")),
        stream=stream,
        include_usage=_flag(options or {}, "include_usage", of="stream_options."),
        seed=_integer(body, "seed", low=-(2**63)) or 0,
    )


def read_model(body: dict[str, Any]) -> str:
    """The name is repeated in the answer; which model works is decided by the path."""
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 200:
        raise invalid("model", "model must be a string of 1 to 200 characters.")
    return model


def _messages(messages: Any) -> tuple[list[str], list[str]]:
    """Contents of all messages, and of the person's alone."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "messages must be a list of at least one message.")
    contents, turns = [], []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict):
            raise invalid(where, f"{where} must be an object with role and content.")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise invalid(f"{where}.role", f"{where}.role must be one of {', '.join(sorted(ROLES))}.")
        if message.get("content") is None and role == "assistant":  # as a call of a tool leaves it
            content = ""
        else:
            content = _content(message.get("content"), f"{where}.content")
        contents.append(content)
        if role == "user":
            turns.append(content)
    if sum(map(len, contents)) > MAX_CHARACTERS:
        limit = f"{MAX_CHARACTERS:,}"
        raise invalid("messages", f"The messages hold more than {limit} characters.", code="context_length_exceeded")
    return contents, turns


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(where, f"{where} must be a string or a list of text parts.")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise invalid(where, f'{where} may only hold parts like {{"type": "text", "text": "…"}}.')
        texts.append(text)
    return "\n".join(texts)


def _stops(stop: Any) -> list[str]:
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise invalid("stop", f"stop must be a string or a list of up to {MAX_STOPS} strings, none of them empty.")
    return stops


def _integer(body: dict[str, Any], name: str, *, low: int) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or value < low):
        raise invalid(name, f"{name} must be a whole number of at least {low}.")
    return value


def _flag(body: dict[str, Any], name: str, *, of: str = "") -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(of + name, f"{of}{name} must be true or false.")
    return bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
