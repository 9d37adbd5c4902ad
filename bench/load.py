"""A load generator with as little in it as Python allows: `python -m bench.load URL …` prints one line of JSON.

Each connection sends its next request when its last answer is whole. CPU of this process is in nobody's account.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from urllib.parse import urlsplit

import httptools
import uvloop


class Client(asyncio.Protocol):
    """One connection; counts answers and, of streams, the pieces of text in them."""

    transport: asyncio.Transport

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._sent = self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._run.open += 1
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.open -= 1
        if not self._run.is_over:
            self._run.broken += 1
            self._run.connect_again()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self._run.is_streamed:
            if not self._first:
                self._first = time.perf_counter()
                if self._run.is_counting:
                    self._run.first.append(self._first - self._sent)
            if self._run.is_counting:
                self._run.chunks += body.count(b"data: ")

    def on_message_complete(self) -> None:
        run, now = self._run, time.perf_counter()
        if run.is_counting:
            run.took.append(now - self._sent)
            if self._parser.get_status_code() != 200:
                run.bad += 1
        if run.is_over:
            self.transport.close()
        elif self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._send()
        else:
            self.transport.close()

    def _send(self) -> None:
        self._first = 0.0
        self._sent = time.perf_counter()
        self.transport.write(self._run.request)


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        url = urlsplit(options.url)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        body = options.body.encode()
        lines = [f"POST {url.path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Content-Type: application/json"]
        lines += [*options.header, f"Content-Length: {len(body)}", "", ""]
        self.request = "\r\n".join(lines).encode() + body
        self.is_streamed = '"stream"' in options.body
        self.is_counting = self.is_over = False
        self.open = self.broken = self.bad = self.chunks = 0
        self.took: list[float] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self.first: list[float] = []

    def connect_again(self) -> None:
        task = asyncio.get_running_loop().create_task(self.connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: Client(self), self.host, self.port)

    async def run(self, options: argparse.Namespace) -> dict[str, object]:
        for _ in range(options.connections):
            await self.connect()
        await asyncio.sleep(options.warm)
        print("begin", flush=True)
        self.is_counting = True
        began = time.perf_counter()
        await asyncio.sleep(options.seconds)
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
            "first_p50_ms": _at(first, 0.5),
            "first_p99_ms": _at(first, 0.99),
        }


def _at(sorted_seconds: list[float], share: float) -> float | None:
    if not sorted_seconds:
        return None
    return round(sorted_seconds[min(int(len(sorted_seconds) * share), len(sorted_seconds) - 1)] * 1000, 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--body", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--warm", type=float, default=0.5)
    options = parser.parse_args()
    print(json.dumps(uvloop.run(Run(options).run(options))), flush=True)


if __name__ == "__main__":
    main()
