"""An application with both of a server's doors, behind a connection of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from common.serving import Protocol, Request

BODY = b'{"ok":true}'
HEAD = b"content-type: application/json\r\ncontent-length: 11\r\n"


class Application:
    """Answers /asgi by ASGI, and everything else past it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.released = asyncio.Event()
        self.noticed: list[str] = []

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        said = b"%b by asgi" % (body or scope["query_string"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})

    def handler_of(self, method: str, path: str) -> Any:
        return None if path == "/asgi" else self._serve

    async def _serve(self, request: Request) -> None:
        self.requests.append(request)
        await getattr(self, request.path.strip("/").replace(" ", "_"))(request)

    async def whole(self, request: Request) -> None:
        await self._read(request)
        await request.answer(200, HEAD, BODY)

    async def echo(self, request: Request) -> None:
        body = await self._read(request)
        await request.answer(200, b"content-length: %d\r\n" % len(body), body)

    async def with_a_space(self, request: Request) -> None:
        said = repr((request.path, request.query)).encode()
        await request.answer(200, b"content-length: %d\r\n" % len(said), said)

    async def refused(self, request: Request) -> None:
        """Without a look at the body."""
        await request.answer(413, b"content-length: 2\r\n", b"no")

    async def late(self, request: Request) -> None:
        await self._read(request)
        await self.released.wait()
        await request.answer(200, HEAD, BODY)

    async def asleep(self, request: Request) -> None:
        await self.released.wait()
        await request.answer(200, HEAD, BODY)

    async def stream(self, request: Request) -> None:
        request.when_gone(lambda: self.noticed.append("gone"))
        await self._read(request)
        request.begin(200, b"content-type: text/plain\r\n")
        await request.send(b"one ")
        await self.released.wait()
        await request.send(b"two", False)

    async def flood(self, request: Request) -> None:
        request.when_gone(lambda: self.noticed.append("gone"))
        request.begin(200, b"")
        for _ in range(200):
            await request.send(b"x" * 64 * 1024)
            self.noticed.append("sent")
        await request.send(b"", False)

    async def torn(self, request: Request) -> None:
        request.begin(200, b"")
        await request.send(b"some")

    async def broken(self, request: Request) -> None:
        raise ZeroDivisionError

    async def _read(self, request: Request) -> bytes:
        body = request.take()
        while request.more_body:
            try:
                body += await request.receive()
            except ConnectionError:
                self.noticed.append("left")
                raise
        return body


class Line:
    """A client's end of a connection, and the server behind it."""

    def __init__(self, app: Application, server: uvicorn.Server, port: int) -> None:
        self.app, self.state, self._port = app, server.server_state, port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def say(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), 5)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)

    async def true(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def served(*, wrap: Any = None, **options: Any) -> Any:
    app = Application()
    config = uvicorn.Config(
        app if wrap is None else wrap(app),
        http=Protocol,
        lifespan="off",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        **options,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Protocol(config, server.server_state, {}), "127.0.0.1", 0)
    line = Line(app, server, listener.sockets[0].getsockname()[1])
    await line.open()
    try:
        yield line
    finally:
        line.writer.close()
        listener.close()
        await line.true(lambda: not server.server_state.connections)
        assert not server.server_state.tasks


def talk(raw: bytes, **options: Any) -> bytes:
    """What comes back on one connection until it ends."""

    async def run() -> bytes:
        async with served(**options) as line:
            await line.say(raw)
            return await line.rest()

    return asyncio.run(run())


def post(path: str, more: str = "", body: str = "{}") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}".encode()


CLOSE = "Connection: close\r\n"
