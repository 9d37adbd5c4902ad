"""Upstreams that speak Anthropic's Messages API. Unknown fields and events pass through untouched.

A stream is a message: `message_start` with the input's usage, blocks, `message_delta` with the usage of the output so
far, `message_stop`. The cost rides on the last `message_delta`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from common.outbound import OutboundBadAnswer
from common.problems import FieldError, Problem, anthropic_envelope
from gateway.adapters import MAX_TOKENS, Usage
from gateway.errors import UpstreamFailed

PATH = "/messages"
VERSION = "2023-06-01"
USUAL_MAX_TOKENS = 1024  # of a call that a person makes, who may not know that it has to say so
#: What is passed on of a caller's headers: these, and nothing else.
PASSED_HEADERS = ("anthropic-version", "anthropic-beta")
_PASSED_VALUE = re.compile(r"[A-Za-z0-9 ,._-]{1,200}", re.ASCII)
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
INPUT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

_encode = msgspec.json.Encoder(decimal_format="number").encode


def url(base: str, kind: str) -> str:
    return base.rstrip("/") + PATH


def headers(given: Mapping[str, str]) -> dict[str, str]:
    """Those of the protocol: the caller's, where it sent them."""
    passed = {name: given[name] for name in PASSED_HEADERS if _PASSED_VALUE.fullmatch(given.get(name, ""))}
    return {"anthropic-version": VERSION, **passed}


def request(body: dict[str, Any], *, upstream_model: str, stream: bool) -> dict[str, Any]:
    return {**body, "model": upstream_model}


def faults(body: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a request whatever the model's schema says: without its bound nothing could be held for it."""
    bound = body.get("max_tokens")
    if type(bound) is int and bound > 0:
        return []
    detail = "Give the most tokens that the answer may have, a whole number above 0."
    return [{"pointer": "/max_tokens", "code": "required" if bound is None else "invalid", "detail": detail}]


def usage(answer: Any) -> Usage | None:
    found = answer.get("usage") if isinstance(answer, dict) else None
    return _counted(found) if isinstance(found, dict) and "output_tokens" in found else None


def _counted(found: Mapping[str, Any]) -> Usage | None:
    """Of the input all is counted: what was read from a cache, and what was written to one, stand beside the rest."""
    counts = [0 if found.get(name) is None else found[name] for name in (*INPUT_COUNTS, "output_tokens")]
    if any(type(count) is not int or not 0 <= count <= MAX_TOKENS for count in counts):
        return None
    *given, output = counts
    return Usage(sum(given), output)


def is_empty(answer: Any, kind: str) -> bool:
    content = answer.get("content") if isinstance(answer, dict) else None
    return not isinstance(content, list) or not content


class Events:
    """A stream, event by event. See `gateway.adapters.StreamReader`."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.usage: Usage | None = None
        self.is_over = False
        self._counts: dict[str, Any] = {}  # as reported so far
        self._last: dict[str, Any] | None = None  # the last `message_delta`, held until the settlement
        self._stop = {"type": "message_stop"}

    def read(self, data: bytes) -> tuple[bytes, int]:
        try:
            event = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            raise OutboundBadAnswer("The stream holds something other than JSON.") from None
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            raise OutboundBadAnswer("The stream holds something other than events.")
        match kind:
            case "error":
                raise UpstreamFailed("The publisher's endpoint reported an error in the middle of its answer.")
            case "message_start":
                message = event.get("message")
                self._note(message.get("usage") if isinstance(message, dict) else None)
            case "message_delta":
                self._note(event.get("usage"))
                if "output_tokens" in self._counts:  # that of `message_start` is of what was there by then
                    self.usage = _counted(self._counts)
                held, self._last = self._last, event
                return (b"" if held is None else _event(held)), 0
            case "message_stop":
                self.is_over, self._stop = True, event
                return b"", 0
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n", _text_bytes(kind, event)

    def _note(self, found: Any) -> None:
        """Counts are of the whole message so far, and a later report has only those that changed."""
        if isinstance(found, dict):
            self._counts |= {name: found[name] for name in (*INPUT_COUNTS, "output_tokens") if name in found}

    def ending(self, usage: Usage, cost: Decimal) -> bytes:
        reported = (self._last or {}).get("usage")
        billed: dict[str, Any] = {**(reported if isinstance(reported, dict) else {}), "cost": cost}
        if usage.source == "counted":
            billed |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        last = self._last or {"type": "message_delta", "delta": {"stop_reason": None, "stop_sequence": None}}
        return _event({**last, "usage": {"output_tokens": usage.output_tokens, **billed}}) + _event(self._stop)

    @staticmethod
    def broken(problem: Problem, request_id: str) -> bytes:
        return _event(anthropic_envelope(problem, request_id))

    @property
    def has_ending(self) -> bool:
        return self._last is not None


def _text_bytes(kind: str, event: Mapping[str, Any]) -> int:
    """How much was generated: texts, thoughts and the pieces of a tool's input."""
    delta = event.get("delta") if kind == "content_block_delta" else None
    if not isinstance(delta, dict):
        return 0
    return sum(len(part.encode()) for name, part in delta.items() if name != "type" and isinstance(part, str))


def _event(event: Mapping[str, Any]) -> bytes:
    return b"event: " + event["type"].encode() + b"\ndata: " + _encode(event) + b"\n\n"
