"""uvicorn's protocol with a second door beside ASGI's, for requests that must cost little.

ASGI makes of each request a scope, a task that waits for messages, and an answer in two writes after a look at every
header. An application that has a method `handler_of` (`Direct`) is asked by it about each request first. Where it
returns a handler, that is given the request as it is (`Request`), and writes its answer to the connection itself. All
others go uvicorn's way, on the same connections: one after the other, kept alive and ended by the same rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any
from typing import Protocol as Interface
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FAILED = b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n"
LONGEST_KNOWN_URL = 200  # bytes; a longer one is read anew each time, so that what is remembered stays small


class Request:
    """One request past ASGI, and the way to answer it.

    remote: the address of who opened the connection, "" on a Unix socket.
    headers: by name in lower case; repeated ones are one list, so a second credential spoils the first instead of
      replacing it.
    unread: how many bytes of the body `take` would return.  more_body: whether there will be others.
    has_left: whether the client has; then nothing of an answer leaves any more.
    """

    __slots__ = (
        "_expects_continue",
        "_head",
        "_on_gone",
        "_parts",
        "_protocol",
        "_waiter",
        "has_left",
        "headers",
        "keep_alive",
        "method",
        "more_body",
        "path",
        "query",
        "remote",
        "response_complete",
        "response_started",
        "unread",
    )

    def __init__(self, protocol: Protocol, method: str, path: str, query: bytes, headers: dict[bytes, bytes]) -> None:
        self._protocol = protocol
        self.method, self.path, self.query, self.headers = method, path, query, headers
        self.remote = protocol.remote
        self.has_left = False
        self._parts: list[bytes] = []
        self.unread = 0
        self.more_body = True
        self._expects_continue = protocol.expect_100_continue
        self._waiter: asyncio.Future[None] | None = None
        self._on_gone: Callable[[], object] | None = None
        self._head = b""
        # Of a connection's `cycle`, as which it stands there, uvicorn knows these three.
        self.response_started = self.response_complete = False
        self.keep_alive = True

    # --- The body ---

    def take(self) -> bytes:
        """What has come of the body since the last time; may be nothing."""
        parts, self._parts, self.unread = self._parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def receive(self) -> bytes:
        """The next bytes of the body, as soon as there are any; none at its end. Raises ConnectionError when the client
        has left."""
        transport, flow = self._protocol.transport, self._protocol.flow
        if self._expects_continue and not self.response_started and not transport.is_closing():
            transport.write(CONTINUE)
        self._expects_continue = False
        while not self._parts and self.more_body and not self.has_left:
            flow.resume_reading()
            self._waiter = self._protocol.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        flow.resume_reading()  # else the end of the connection would not be seen
        if self.has_left:
            raise ConnectionResetError
        return self.take()

    # --- The answer ---

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer in one write. head: its lines with their ends, `content-length` among them."""
        protocol = self._protocol
        if protocol.flow.write_paused and not self.has_left:
            await protocol.flow.drain()
        if self.has_left:
            return
        self._begin()
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        if self.method == "HEAD":
            body = b""
        protocol.transport.write(b"".join((STATUS_LINE[status], protocol.default_lines(), head, end, body)))
        self._complete()

    def begin(self, status: int, head: bytes) -> None:
        """The head of an answer of unknown length. It leaves with the first bytes that are sent."""
        self._begin()
        end = b"" if self.keep_alive else b"connection: close\r\n"
        lines = (STATUS_LINE[status], self._protocol.default_lines(), head, end)
        self._head = b"".join((*lines, b"transfer-encoding: chunked\r\n\r\n"))

    async def send(self, data: bytes, more: bool = True) -> None:
        """The next bytes of an answer that was begun, which end it unless `more` follow. Waits while the client is
        behind. May be begun in one task and ended in another."""
        protocol = self._protocol
        if protocol.flow.write_paused and not self.has_left:
            await protocol.flow.drain()
        if self.has_left:
            return
        head, self._head = self._head, b""
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        protocol.transport.write(head + chunk if more else head + chunk + b"0\r\n\r\n")
        if not more:
            self._complete()

    def when_gone(self, tell: Callable[[], object] | None) -> None:
        """Have `tell` called when the client leaves before it has its answer, at once if it has left; None: no more."""
        self._on_gone = tell
        if self.has_left and tell is not None:
            tell()

    def _begin(self) -> None:
        if self.response_started:
            raise RuntimeError("An answer has begun already.")
        self.response_started = True

    def _complete(self) -> None:
        self.response_complete, self.more_body = True, False
        self._parts, self._on_gone = [], None
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()

    # --- What the connection tells ---

    def feed(self, data: bytes) -> None:
        """Bytes of the body have come. Those of a request that was answered before it was complete are thrown away."""
        if not self.more_body:
            return
        self._parts.append(data)
        self.unread += len(data)
        if self.unread > HIGH_WATER_LIMIT:
            self._protocol.flow.pause_reading()
        self._wake()

    def end_body(self) -> None:
        self.more_body = False
        self._wake()

    def lose(self) -> None:
        """The client has left."""
        if self.response_complete or self.has_left:
            return
        self.has_left = True
        self._wake()
        if self._on_gone is not None:
            self._on_gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


#: Answers a request. What it raises is a fault of the server's own.
Handler = Callable[[Request], Coroutine[Any, Any, None]]


class Direct(Interface):
    """What an ASGI application has besides, to be given some requests past ASGI."""

    def handler_of(self, method: str, path: str) -> Handler | None:
        """Who answers; None for a request that goes ASGI's way. path: with its escapes undone, without the query."""


class Protocol(HttpToolsProtocol):
    """A connection. A request past ASGI stands in `cycle` and `pipeline` where uvicorn's own has its cycle."""

    cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handler_of = _direct_of(self.config.loaded_app)
        self._answered: Request | None = None  # the one that is, while others may wait in the pipeline
        self._rests_since: float | None = None
        self.remote = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.remote = self.client[0] if self.client is not None else ""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None:
            self._answered.lose()
        if type(self.cycle) is Request:
            self.cycle.lose()
            self.cycle = None
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    # --- How long it may rest: a timer that looks again, instead of a new one for each request ---

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._rests_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._rests_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._rests_since is None:  # its next answer sets the timer
            return
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0.001:
            self._look_again_in(left)
        else:
            super().timeout_keep_alive_handler()

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def default_lines(self) -> bytes:
        """The lines of every head."""
        return _lines(self.server_state.default_headers)

    # --- The parser ---

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        parser, headers = self.parser, self.headers
        method = parser.get_method().decode("ascii")
        path, query = _split(self.url) if len(self.url) > LONGEST_KNOWN_URL else _split_known(self.url)
        handler = None if self._handler_of is None else self._handler_of(method, self.root_path + path)
        if handler is None or self._is_full() or (parser.should_upgrade() and self._should_upgrade()):
            self._begin_scope()
            super().on_headers_complete()
            return
        by_name = dict(headers)
        if len(by_name) != len(headers):
            by_name = _joined(headers)
        before = self.cycle
        request = Request(self, method, self.root_path + path, query, by_name)
        request.keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self.cycle = request
        if before is None or before.response_complete:
            self._start(request, handler)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, handler))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        if type(self.cycle) is Request:
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if type(self.cycle) is Request:
            self.cycle.end_body()
        else:
            super().on_message_complete()

    def _begin_scope(self) -> None:
        """What uvicorn does at the beginning of each request, and ASGI alone needs."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that stands in the scope

    def _is_full(self) -> bool:
        limit = self.limit_concurrency
        return limit is not None and max(len(self.connections), len(self.tasks)) >= limit

    # --- Those who answer ---

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is Request:
            self._start(cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def _start(self, request: Request, handler: Handler) -> None:
        self._answered = request
        self.tasks.add(self.loop.create_task(self._run(request, handler)))

    async def _run(self, request: Request, handler: Handler) -> None:
        try:
            await handler(request)
        except BaseException:
            self.logger.exception("A request was not answered.")
            if not request.response_started:
                request.keep_alive = False
                await request.answer(500, FAILED, b"Internal Server Error")
        finally:
            if not (request.response_complete or request.has_left):  # the client is to see that this is not all
                self.transport.close()
            if self._answered is request:
                self._answered = None
            self.tasks.discard(asyncio.current_task())


def _direct_of(app: Any) -> Callable[[str, str], Handler | None] | None:
    """The `handler_of` of an application, or of the one that uvicorn has wrapped."""
    while app is not None:
        if (handler_of := getattr(app, "handler_of", None)) is not None:
            return handler_of  # type: ignore[no-any-return]
        app = getattr(app, "app", None)
    return None


def _split(url: bytes) -> tuple[str, bytes]:
    """Path and query. What it raises makes the request a bad one, as it does in uvicorn."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.query or b""


_split_known = lru_cache(1024)(_split)


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        by_name[name] = by_name[name] + b", " + value if name in by_name else value
    return by_name


class _DefaultLines:
    """The lines of uvicorn's default headers, of which it makes new ones each second."""

    def __init__(self) -> None:
        self._made_of: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def __call__(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._made_of:
            self._lines = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
            self._made_of = headers
        return self._lines


_lines = _DefaultLines()
