"""Upstreams that speak OpenAI's API. Unknown fields pass through untouched."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from common.outbound import OutboundBadAnswer
from common.problems import Problem, openai_envelope
from gateway.adapters import Usage, reported
from gateway.errors import UpstreamFailed

DONE = b"data: [DONE]\n\n"
PATHS = {"chat": "/chat/completions", "completion": "/completions", "embedding": "/embeddings"}

_encode = msgspec.json.Encoder(decimal_format="number").encode  # an exact decimal, not a binary fraction


def url(base: str, kind: str) -> str:
    return base.rstrip("/") + PATHS[kind]


def request(body: dict[str, Any], *, upstream_model: str, stream: bool) -> dict[str, Any]:
    """Usage is always asked for, so that a stream can be billed by what the upstream reports."""
    sent = {**body, "model": upstream_model}
    if stream:
        options = body.get("stream_options")
        sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return sent


def usage(answer: Any) -> Usage | None:
    found = answer.get("usage") if isinstance(answer, dict) else None
    return reported(found, ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))


def is_empty(answer: Any, kind: str) -> bool:
    content = answer.get("data" if kind == "embedding" else "choices") if isinstance(answer, dict) else None
    return not isinstance(content, list) or not content


class Events:
    """A stream, chunk by chunk. See `gateway.adapters.StreamReader`.

    A client that asked for usage gets it in the extra chunk it expects; for all others it rides on the last chunk that
    has choices. Either carries `cost`.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        options = body.get("stream_options")
        self.usage: Usage | None = None
        self.is_over = False
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._last: dict[str, Any] | None = None  # the last chunk with a finish reason, held until the settlement
        self._last_data = b""  # the same as it came
        self._usage_chunk: dict[str, Any] | None = None

    def read(self, data: bytes) -> tuple[bytes, int]:
        if data == b"[DONE]":
            self.is_over = True
            return b"", 0
        try:
            chunk = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            raise OutboundBadAnswer("The stream holds something other than JSON.") from None
        choices = chunk.get("choices") or [] if isinstance(chunk, dict) else None
        if not isinstance(choices, list):
            raise OutboundBadAnswer("The stream holds something other than chunks.")
        if chunk.get("error"):
            raise UpstreamFailed("The publisher's endpoint reported an error in the middle of its answer.")
        if chunk.get("usage") is not None:
            if (found := usage(chunk)) is not None:
                self.usage = found
            if not choices:
                self._usage_chunk = chunk
                return b"", 0
        released = b"" if self._last is None else self._release()
        is_last, size = _seen_in(choices)
        if is_last:
            self._last, self._last_data = chunk, data
            return released, size
        return b"%bdata: %b\n\n" % (released, data), size

    def _release(self) -> bytes:
        held, self._last = self._last or {}, None
        if held.get("usage") is None:
            return b"data: " + self._last_data + b"\n\n"
        return _event({name: value for name, value in held.items() if name != "usage"})

    def ending(self, usage: Usage, cost: Decimal) -> bytes:
        counts = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        reported = (self._usage_chunk or self._last or {}).get("usage")
        billed = {**(reported if isinstance(reported, dict) else {}), **counts, "cost": cost}
        found = b""
        if self._last is not None:
            last = {name: value for name, value in self._last.items() if name != "usage"}
            found += _event(last if self._wants_usage else {**last, "usage": billed})
        if self._wants_usage:
            template = self._usage_chunk or {**(self._last or {}), "choices": []}
            found += _event({**template, "usage": billed})
        return found + DONE

    @staticmethod
    def broken(problem: Problem, request_id: str) -> bytes:
        return _event(openai_envelope(problem, request_id)) + DONE

    @property
    def has_ending(self) -> bool:
        return self._last is not None


def _seen_in(choices: list[Any]) -> tuple[bool, int]:
    """Whether one of them says why it ends, and how much was generated: whatever stands in deltas but their role."""
    is_last, size = False, 0
    for choice in choices:
        if isinstance(choice, dict):
            if choice.get("finish_reason"):
                is_last = True
            delta = choice.get("delta")
            for part in (*(delta.values() if isinstance(delta, dict) else ()), choice.get("text")):
                if part and part != "assistant":
                    size += len(part.encode()) if isinstance(part, str) else len(_encode(part))
    return is_last, size


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
