"""The built-in echo: a protocol, and the upstream itself. It opens no connection.

Chats, completions and embeddings are answered in OpenAI's shape, everything else with `{"echo": <the input>}`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping
from typing import Any

import msgspec

from common.outbound import Reply
from gateway.adapters import Usage, count_tokens, openai

DIMENSIONS = 16  # of its embeddings
Events = openai.Events


def url(base: str, kind: str) -> str:
    return f"{base}{kind}"


def request(body: dict[str, Any], *, upstream_model: str, stream: bool) -> dict[str, Any]:
    return body


def usage(answer: Any) -> Usage | None:
    return openai.usage(answer)


def is_empty(answer: Any, kind: str) -> bool:
    return False


class EchoDoor:
    """In place of the way out, for calls of the echo."""

    def route(self, method: str, url: str, headers: Mapping[str, str]) -> EchoRoute:
        return EchoRoute(url.partition(":")[2])


class EchoRoute:
    """In place of the way to an endpoint, for calls of one kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    async def request(self, *, headers: Any, body: bytes, timeout: Any, max_bytes: int) -> Reply:
        return Reply(200, {}, msgspec.json.encode(_answer(self._kind, msgspec.json.decode(body))))

    async def open(self, *, headers: Any, body: bytes, timeout: Any, max_bytes: int) -> EchoReply:
        return EchoReply(self._kind, msgspec.json.decode(body))


class EchoReply:
    """A streamed answer: a chunk for each word, then the usage."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, kind: str, body: dict[str, Any]) -> None:
        self._kind, self._body = kind, body
        self._events = self._all()

    async def piece(self, taker: object = None) -> bytes:
        return next(self._events, b"")

    def close(self) -> None:
        self._events.close()

    def _all(self) -> Generator[bytes, None, None]:
        for text in _words(_said(self._kind, self._body)):
            yield _event(self._chunk(text, None))
        yield _event(self._chunk("", "stop"))
        yield _event({**self._chunk("", None), "choices": [], "usage": _usage(self._kind, self._body)})
        yield b"data: [DONE]\n\n"

    def _chunk(self, text: str, finish: str | None) -> dict[str, Any]:
        if self._kind == "chat":
            part: dict[str, Any] = {"delta": {"content": text} if text else {}}
            shape = "chat.completion.chunk"
        else:
            part, shape = {"text": text}, "text_completion"
        choice = {"index": 0, **part, "finish_reason": finish}
        return {**_head(shape, self._kind, self._body), "choices": [choice]}


def _answer(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    if kind == "embedding":
        given = body.get("input")
        inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        data = [{"object": "embedding", "index": i, "embedding": _vector(text)} for i, text in enumerate(inputs)]
        return {"object": "list", "model": "agorai/echo", "data": data, "usage": _usage(kind, body)}
    if kind not in ("chat", "completion"):
        return {"echo": body}
    said = _said(kind, body)
    if kind == "chat":
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": said}}
        shape = "chat.completion"
    else:
        choice, shape = {"index": 0, "text": said}, "text_completion"
    return {
        **_head(shape, kind, body),
        "choices": [{**choice, "finish_reason": "stop"}],
        "usage": _usage(kind, body),
    }


def _head(shape: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(msgspec.json.encode([kind, body])).hexdigest()
    return {"id": f"echo-{digest[:24]}", "object": shape, "created": int(time.time()), "model": "agorai/echo"}


def _said(kind: str, body: dict[str, Any]) -> str:
    """What was said last: of a chat the text of its last message, of a completion the prompt."""
    if kind == "chat":
        messages = body.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else None
        return _text(last.get("content") if isinstance(last, dict) else last)
    prompt = body.get("prompt")
    return _text(prompt[0] if isinstance(prompt, list) and prompt else prompt)


def _text(content: Any) -> str:
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _words(text: str) -> list[str]:
    """In pieces that make the text again."""
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:] if text else []


def _usage(kind: str, body: dict[str, Any]) -> dict[str, int]:
    given = count_tokens(len(msgspec.json.encode(body)))
    said = 0 if kind == "embedding" else count_tokens(len(_said(kind, body).encode("utf-8", "replace")))
    return {"prompt_tokens": given, "completion_tokens": said, "total_tokens": given + said}


def _vector(text: Any) -> list[float]:
    """The same for the same text."""
    digest = hashlib.sha256(msgspec.json.encode(text)).digest()
    return [round(byte / 127.5 - 1, 4) for byte in digest[:DIMENSIONS]]


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
