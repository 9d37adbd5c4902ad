"""A load generator with as little in it as Python allows: `python -m bench.load URL …` prints one line of JSON.

Each connection sends its next request when its last answer is whole. CPU of this process is in nobody's account. It
says `begin` and `end` on lines of their own, between which the measurement is.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import uvloop

LOOK_SECONDS = 0.02
AT_ONCE = 50  # connections that are opened together


class Client(asyncio.Protocol):
    """One connection; counts answers and, of streams, the pieces of text in them."""

    transport: asyncio.Transport

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._sent = self._first = 0.0
        self._is_over = False
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_over and not self._run.is_over:
            self._run.broken += 1
            self._run.left -= self._run.is_once
            if not self._run.is_once:
                self._run.connect_again()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        run = self._run
        if run.is_streamed:
            if not self._first:
                self._first = time.perf_counter()
                if run.is_counting:
                    run.first.append(self._first - self._sent)
            if run.is_counting:
                run.chunks += body.count(b"data: ")
            self._end = body[-32:]
            if run.to_abort:
                self._abort()

    def _abort(self) -> None:
        """Leave in the middle of the stream, and come again until enough have left."""
        if self._is_over:
            return
        self._is_over = True
        self._run.aborted += 1
        self.transport.abort()
        if self._run.aborted < self._run.to_abort:
            self._run.connect_again()

    def on_message_complete(self) -> None:
        run, now = self._run, time.perf_counter()
        if run.is_counting:
            run.took.append(now - self._sent)
            if self._parser.get_status_code() != 200:
                run.bad += 1
            run.complete += b"[DONE]" in self._end
        if run.is_over or run.is_once:
            run.left -= run.is_once
            self._is_over = True
            self.transport.close()
        elif self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._send()
        else:
            self._is_over = True
            self.transport.close()
            run.connect_again()

    def _send(self) -> None:
        self._first = 0.0
        self._sent = time.perf_counter()
        self.transport.write(next(self._run.requests))


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        url = urlsplit(options.url)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        self.requests = _requests(url.path, f"{self.host}:{self.port}", options)
        self.is_streamed = '"stream"' in options.body
        self.is_once, self.to_abort = options.once, options.abort
        self.is_counting = self.is_over = False
        self.broken = self.bad = self.chunks = self.complete = self.aborted = 0
        self.left = options.connections
        self.took: list[float] = []
        self.first: list[float] = []
        self._connecting: set[asyncio.Task[None]] = set()

    def connect_again(self) -> None:
        task = asyncio.get_running_loop().create_task(self.connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Client(self), self.host, self.port)
        except OSError:
            self.broken += 1
            self.left -= self.is_once

    async def run(self, options: argparse.Namespace) -> dict[str, object]:
        if options.spread:
            for _ in range(options.connections):
                await self.connect()
                await asyncio.sleep(options.spread / options.connections)
        elif not self.is_once:
            await self._open(options.connections)
        if not self.is_once:
            await asyncio.sleep(options.warm)
        print("begin", flush=True)
        self.is_counting = True
        began = time.perf_counter()
        if self.is_once:
            await self._open(options.connections)
        while not self._is_enough(time.perf_counter() - began, options):
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        self.is_counting = False
        print("end", flush=True)
        self.is_over = True
        took, first = sorted(self.took), sorted(self.first)
        return {
            "answers": len(took),
            "bad": self.bad,
            "broken": self.broken,
            "seconds": seconds,
            "rate": len(took) / seconds,
            "p50_ms": _at(took, 0.5),
            "p99_ms": _at(took, 0.99),
            "chunks": self.chunks,
            "complete": self.complete,
            "aborted": self.aborted,
            "first_p50_ms": _at(first, 0.5),
            "first_p99_ms": _at(first, 0.99),
        }

    async def _open(self, connections: int) -> None:
        for first in range(0, connections, AT_ONCE):
            await asyncio.gather(*(self.connect() for _ in range(first, min(first + AT_ONCE, connections))))

    def _is_enough(self, seconds: float, options: argparse.Namespace) -> bool:
        if seconds >= options.most_seconds:
            return True
        if self.is_once:
            return self.left <= 0
        if self.to_abort:
            return self.aborted >= self.to_abort
        return seconds >= options.seconds and len(self.took) >= options.answers


def _requests(path: str, host: str, options: argparse.Namespace) -> Iterator[bytes]:
    """Without end: the same one, or of each key in turn."""
    body = options.body.encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    lines += [*options.header, f"Content-Length: {len(body)}"]
    head, rest = "\r\n".join(lines).encode() + b"\r\n", b"\r\n" + body
    if options.keys is None:
        return itertools.repeat(head + rest)
    keys = options.keys.read_bytes().split()
    return (head + b"Authorization: Bearer " + key + b"\r\n" + rest for key in itertools.cycle(keys))


def _at(sorted_seconds: list[float], share: float) -> float | None:
    if not sorted_seconds:
        return None
    return round(sorted_seconds[min(int(len(sorted_seconds) * share), len(sorted_seconds) - 1)] * 1000, 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--body", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--keys", type=Path, help="a file of API keys, one a line, used in turn")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2, help="no less than this")
    parser.add_argument("--answers", type=int, default=0, help="and no fewer than these")
    parser.add_argument("--most-seconds", type=float, default=600, help="but no more than this")
    parser.add_argument("--warm", type=float, default=0.5)
    parser.add_argument("--spread", type=float, default=0, help="open the connections over so many seconds")
    parser.add_argument("--once", action="store_true", help="one request on each connection, all at once")
    parser.add_argument("--abort", type=int, default=0, help="so many streams are left after their first piece")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(uvloop.run(Run(options).run(options))), flush=True)


if __name__ == "__main__":
    main()
