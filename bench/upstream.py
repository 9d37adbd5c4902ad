"""A fast fake of a model's endpoint that speaks OpenAI's API: `python -m bench.upstream PORT`.

A chat is answered with 600 bytes at once; a streamed one with `X-Bench-Tokens` (100) events, one each
`X-Bench-Pace-Ms` (10), 0 for all at once.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

import uvloop

TEXT = (
    "The gateway adds a small amount of latency to every request, because the key has to be checked, the rate limit has"
    " to be counted and the usage has to be metered before the answer of the model can be handed on."
)
USAGE = {"prompt_tokens": 87, "completion_tokens": 52, "total_tokens": 139}
HEAD = {"id": "chatcmpl-9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c", "created": 1719412345, "model": "bench"}
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "logprobs": None, "finish_reason": "stop"}
ANSWER = json.dumps({**HEAD, "object": "chat.completion", "choices": [MESSAGE], "usage": USAGE}).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(choices: list[object], **more: object) -> bytes:
    chunk = {**HEAD, "object": "chat.completion.chunk", "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


TOKEN = _piece(_event([{"index": 0, "delta": {"content": " token"}, "finish_reason": None}]))
END = (
    _piece(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    + _piece(_event([], usage=USAGE))
    + _piece(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.I)
TOKENS = re.compile(rb"\r\nx-bench-tokens: *([0-9]+)", re.I)
PACE = re.compile(rb"\r\nx-bench-pace-ms: *([0-9]+)", re.I)
STREAMED = re.compile(rb'"stream": ?true')


def _number(pattern: re.Pattern[bytes], head: bytes, default: int) -> int:
    found = pattern.search(head)
    return int(found[1]) if found else default


class Connection(asyncio.Protocol):
    """Requests one after the other, as every client in the comparison sends them."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, tokens: int, pace_ms: int) -> None:
        self._loop, self._tokens, self._pace_ms = loop, tokens, pace_ms
        self._rest = b""
        self._is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False

    def data_received(self, data: bytes) -> None:
        self._rest = data = self._rest + data if self._rest else data
        head, found, body = data.partition(b"\r\n\r\n")
        if not found:
            return
        if b"chunked" in head.lower():
            if not body.endswith(b"0\r\n\r\n"):
                return
        elif len(body) < _number(LENGTH, head, 0):
            return
        self._rest = b""
        if not STREAMED.search(body):
            self.transport.write(WHOLE)
            return
        tokens = _number(TOKENS, head, self._tokens)
        pace = _number(PACE, head, self._pace_ms) / 1000
        self.transport.write(STREAM_HEAD)
        if pace:
            self._tell(tokens, pace, self._loop.time())
        else:
            self.transport.write(TOKEN * tokens + END)

    def _tell(self, left: int, pace: float, at: float) -> None:
        if not self._is_open:
            return
        self.transport.write(TOKEN if left else END)
        if left:
            self._loop.call_at(at + pace, self._tell, left - 1, pace, at + pace)


async def _serve(port: int, tokens: int, pace_ms: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(loop, tokens, pace_ms), "127.0.0.1", port, reuse_address=True, backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    port, tokens, pace_ms = (*map(int, sys.argv[1:]), 100, 10)[:3] if len(sys.argv) < 4 else map(int, sys.argv[1:4])
    uvloop.run(_serve(port, tokens, pace_ms))
