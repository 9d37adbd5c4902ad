"""The gateway's ASGI application driven from within a test: no socket, so that a client can leave at any point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.hotpath.app import App, application_for

Message = dict[str, Any]


async def no_django(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running_app(behind: App = no_django) -> AsyncIterator[App]:
    """The application between its lifespan's two events, `behind` answering what is no call."""
    application = application_for(behind)
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
    """One request and what came back. `stalls`: the client stays, but takes nothing of the answer."""

    path: str
    body: Any = None
    credential: str = ""
    method: str = "POST"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_type: str = "application/json"
    query: bytes = b""
    stalls: bool = False
    status: int = 0
    answered: dict[str, str] = field(default_factory=dict)
    received: bytes = b""

    def __post_init__(self) -> None:
        self._gone = asyncio.Event()
        self._is_read = False
        self.has_begun = asyncio.Event()

    async def __call__(self, app: App) -> Request:
        headers = [(b"content-type", self.content_type.encode()), *self.headers]
        if self.credential:
            headers.append((b"authorization", b"Bearer " + self.credential.encode()))
        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "query_string": self.query,
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        await app(scope, self._receive, self._send)
        return self

    def leave(self) -> None:
        self._gone.set()

    @property
    def json(self) -> Any:
        return json.loads(self.received)

    @property
    def code(self) -> str:
        return self.json.get("error", self.json)["code"]

    async def _receive(self) -> Message:
        if self._is_read:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self._is_read = True
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return {"type": "http.request", "body": raw, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            self.answered = {name.lower(): value for name, value in headers}
        else:
            self.received += message.get("body", b"")
            self.has_begun.set()
            if self.stalls:
                await asyncio.Event().wait()
