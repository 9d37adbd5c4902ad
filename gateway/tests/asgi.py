"""The gateway's application driven from within a test, by the server's protocol on a connection without a socket: a
client can leave at any point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httptools
import uvicorn
from uvicorn.server import ServerState

from common.serving import Protocol
from gateway.hotpath.app import App, Application

Message = dict[str, Any]


async def no_django(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running_app(behind: App = no_django) -> AsyncIterator[App]:
    """The application between its lifespan's two events, `behind` answering what is no call."""
    application = Application(behind)
    events: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.create_task(application({"type": "lifespan"}, events.get, told.put))
    events.put_nowait({"type": "lifespan.startup"})
    await told.get()
    try:
        yield application
    finally:
        events.put_nowait({"type": "lifespan.shutdown"})
        await life


@dataclass
class Request:
    """One request and what came back. `stalls`: the client stays, but takes nothing of the answer behind its first
    bytes; `breaks_off`: it leaves in the middle of its body; `is_chunked`: it does not say how large that is."""

    path: str
    body: Any = None
    credential: str = ""
    method: str = "POST"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_type: str = "application/json"
    query: bytes = b""
    stalls: bool = False
    breaks_off: bool = False
    is_chunked: bool = False
    status: int = 0
    answered: dict[str, str] = field(default_factory=dict)
    received: bytes = b""

    def __post_init__(self) -> None:
        self.has_begun = asyncio.Event()
        self._connection: _Connection | None = None

    async def __call__(self, app: App) -> Request:
        """Returns when the server is done with it. When this is cancelled, the server's task is, in its place."""
        self._connection = _Connection(app, self)
        self._connection.send()
        await self._connection.until_done()
        return self

    def leave(self) -> None:
        assert self._connection is not None, "it has not come yet"
        self._connection.break_off()

    @property
    def json(self) -> Any:
        return json.loads(self.received)

    @property
    def code(self) -> str:
        return self.json.get("error", self.json)["code"]

    @property
    def raw(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = [(b"content-type", self.content_type.encode()), *self.headers]
        if self.credential:
            headers.append((b"authorization", b"Bearer " + self.credential.encode()))
        if self.is_chunked:
            headers.append((b"transfer-encoding", b"chunked"))
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            headers.append((b"content-length", b"%d" % (len(body) + self.breaks_off)))
        target = quote(self.path).encode() + (b"?" + self.query if self.query else b"")
        lines = [b"%b: %b\r\n" % header for header in headers]
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (self.method.encode(), target, b"".join(lines), body)

    # --- What the parser of the answer finds ---

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answered[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.received += data
        self.has_begun.set()


class _Connection(asyncio.Transport):
    """Between a request of a test and a protocol of the server."""

    def __init__(self, app: App, request: Request) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 80)})
        config = uvicorn.Config(
            app, ws="none", lifespan="off", server_header=False, proxy_headers=False, access_log=False, log_config=None
        )
        self._request, self._answer = request, httptools.HttpResponseParser(request)
        self._state, self._is_open = ServerState(), True
        self._protocol = Protocol(config, self._state, {}, asyncio.get_running_loop())
        self._protocol.connection_made(self)

    def send(self) -> None:
        self._protocol.data_received(self._request.raw)
        if self._request.breaks_off:
            asyncio.get_running_loop().call_later(0.05, self.break_off)

    async def until_done(self) -> None:
        while self._state.tasks:
            try:
                await asyncio.wait(self._state.tasks)
            except asyncio.CancelledError:
                for task in self._state.tasks:
                    task.cancel()
        self.break_off()

    def break_off(self) -> None:
        if self._is_open:
            self._is_open = False
            self._protocol.connection_lost(None)

    # --- What the protocol does ---

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if self._is_open:
            self._answer.feed_data(data)
            self._request.status = self._answer.get_status_code()
            if self._request.stalls and self._request.has_begun.is_set():
                self._protocol.pause_writing()

    def is_closing(self) -> bool:
        return not self._is_open

    def close(self) -> None:
        if self._is_open:
            asyncio.get_running_loop().call_soon(self.break_off)

    def pause_reading(self) -> None:
        """The test has sent all of its request at once."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""
