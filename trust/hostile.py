"""A model endpoint that answers as nobody should: bytes as they are written here, on a loopback port, in a thread.

What it does is named by the member `text` of the request, or by the text of its first message.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]

MARK = "<script>alert(1)</script>"
JSON = "application/json"
SLOW_SECONDS = 1.0
PIECE = 64 * 1024
LONGEST_SECONDS = 30  # of one answer, whatever it does


def head(*lines: str, status: str = "200 OK", type: str = JSON) -> bytes:
    typed = [f"Content-Type: {type}"] if type else []
    return "\r\n".join([f"HTTP/1.1 {status}", *typed, *lines, "", ""]).encode("latin-1")


def whole(body: bytes, *lines: str, status: str = "200 OK", type: str = JSON) -> bytes:
    return head(*lines, f"Content-Length: {len(body)}", status=status, type=type) + body


def chat(usage: Any, content: str = "Hi") -> dict[str, Any]:
    """An answer that is a chat completion and, to a model that takes `text`, one with a label."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"label": "ok", "object": "chat.completion", "choices": [choice], "usage": usage}


def frames(*usages: Any) -> bytes:
    """A stream of one word, with these usages behind it."""
    word = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    events = [word, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    events += [{"choices": [], "usage": usage} for usage in usages]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def _block() -> bytes:
    """Bare deflate of a mebibyte of nothing, which can be repeated for ever."""
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)


BLOCK = _block()
GZIP_START = gzip.compress(b"")[:10]
ZLIB_START = zlib.compress(b"")[:2]
CHUNKED = "Transfer-Encoding: chunked"


def says(*steps: bytes | float, hangs_up: bool = True) -> Behaviour:
    """Writes; a number is a pause."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        if not hangs_up:
            await asyncio.sleep(LONGEST_SECONDS)

    return behave


def for_ever(start: bytes, again: bytes, pause: float = 0.0) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        many = again if pause else again * max(1, PIECE // len(again))
        while True:
            writer.write(many)
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


def bomb(start: bytes, *lines: str) -> Behaviour:
    """Compressed zeros without end: each kilobyte of it is a megabyte."""
    piece = BLOCK * 64
    return for_ever(head(*lines, CHUNKED) + _chunk(start), _chunk(piece))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.write(head("Content-Length: 100"))
    await writer.drain()
    writer.transport.abort()


BAD_USAGE = {"prompt_tokens": -(10**6), "completion_tokens": 10**30, "total_tokens": "many"}
MUCH_USAGE = {"prompt_tokens": 90_000_000, "completion_tokens": 90_000_000}
EVENTS = "text/event-stream"
FINE = json.dumps(chat({"prompt_tokens": 1, "completion_tokens": 1})).encode()

#: By name. Those in SOUND may be answered; every other one is the end of its call.
BEHAVIOURS: dict[str, Behaviour] = {
    "gzip bomb": bomb(GZIP_START, "Content-Encoding: gzip"),
    "deflate bomb": bomb(ZLIB_START, "Content-Encoding: deflate"),
    "bare deflate bomb": bomb(BLOCK, "Content-Encoding: deflate"),
    "br": bomb(b"\x1b", "Content-Encoding: br"),
    "zstd": bomb(b"\x28\xb5\x2f\xfd", "Content-Encoding: zstd"),
    "encodings in encodings": says(whole(gzip.compress(FINE), "Content-Encoding: gzip, gzip")),
    "gzip beside gzip": bomb(GZIP_START, "Content-Encoding: gzip", "Content-Encoding: gzip"),
    "a bomb in the answer": says(whole(gzip.compress(gzip.compress(bytes(8 << 20))), "Content-Encoding: gzip")),
    "gzip cut short": says(whole(gzip.compress(FINE)[:-6], "Content-Encoding: gzip")),
    "headers without end": for_ever(b"HTTP/1.1 200 OK\r\n", b"X-Some: thing\r\n"),
    "a header without end": for_ever(b"HTTP/1.1 200 OK\r\nX-Some: ", b"thing and "),
    "a header with NUL": says(head("X-Some: th\0ing", "Content-Length: 2") + b"{}"),
    "headers byte by byte": for_ever(b"HTTP/1.1 200 OK\r\nX-Some: ", b"x", SLOW_SECONDS),
    "body byte by byte": for_ever(head("Content-Length: 1000000"), b" ", SLOW_SECONDS),
    "comments and no event": for_ever(head(type=EVENTS), b":\n", SLOW_SECONDS),
    "a line without end": for_ever(head(type=EVENTS) + b"data: ", b"x"),
    "a body without end": for_ever(head(), b" "),
    "bad chunks": says(head(CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk without end": for_ever(head(CHUNKED) + b"1;", b"extension"),
    "a chunk that is too short": says(head(CHUNKED) + b"ffff\r\n{}"),
    "less than it says": says(head("Content-Length: 1000") + b"{}"),
    "two lengths": says(head("Content-Length: 2", "Content-Length: 9") + b"{}1234567"),
    "another protocol": says(head("Upgrade: x", "Connection: upgrade", status="101 Go"), hangs_up=False),
    "interim answers without end": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a redirect to itself": says(whole(b"", "Location: /", status="307 Go")),
    "a reset": reset,
    "no answer": says(hangs_up=False),
    "a page": says(whole(f"<html>{MARK}</html>".encode(), "Set-Cookie: a=b", type="text/html")),
    "a page that is JSON": says(whole(FINE, "Set-Cookie: a=b", type="text/html")),
    "a page without a type": says(whole(f"<html>{MARK}</html>".encode(), type="")),
    "JSON too deep": says(whole(b"[" * 200_000 + b"]" * 200_000)),
    "an odd error": says(whole(b"\xff" * 70_000, "Retry-After: \xb2", status="429 No", type="text/html")),
    "negative usage": says(whole(json.dumps(chat(BAD_USAGE)).encode())),
    "too much usage": says(whole(json.dumps(chat(MUCH_USAGE)).encode())),
    "frames of usage": says(head(type=EVENTS) + frames(BAD_USAGE, MUCH_USAGE, {"prompt_tokens": 1}, 7)),
    "two answers": says(whole(FINE) + whole(FINE.replace(b"Hi", b"Bye"))),
}
SOUND = frozenset({"negative usage", "too much usage", "frames of usage", "two answers"})


@dataclass
class HostileUpstream:
    """`with HostileUpstream() as upstream`: `url` answers hostile HTTP, `tls_url` cuts every TLS handshake."""

    port: int = 0
    tls_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for answer in (self._answer, self._cut)]
        self.port, self.tls_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        hanging = asyncio.all_tasks() - {asyncio.current_task()}
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", request, re.I)
                body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                name = body["text"] if "text" in body else body["messages"][0]["content"]
                await BEHAVIOURS[name](writer)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A handshake that is answered with the beginning of one."""
        await reader.read(100)
        writer.write(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")
        writer.close()
