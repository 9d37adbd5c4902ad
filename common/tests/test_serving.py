import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from common.serving import WHOLE, Protocol

BODY = b'{"ok":true}'
HEAD = b"content-type: application/json\r\ncontent-length: 11\r\n"


async def application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["path"] == "/whole":
        while (await receive()).get("more_body"):
            pass
        await scope["extensions"][WHOLE]["send"](200, HEAD, BODY)
    else:
        has_it = b"yes" if WHOLE in scope.get("extensions", {}) else b"no "
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": has_it})


def talk(request: bytes) -> bytes:
    """What comes back on one connection until it ends."""

    async def run() -> bytes:
        config = uvicorn.Config(application, http=Protocol, lifespan="off", log_level="critical", server_header=False)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        listener = await asyncio.get_running_loop().create_server(
            lambda: Protocol(config, server.server_state, {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            listener.close()

    return asyncio.run(run())


def post(path: str, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: 2\r\n\r\n{{}}".encode()


def test_a_whole_answer_and_the_next_request_on_its_connection():
    said = talk(post("/whole") + post("/whole", "Connection: close\r\n"))
    first, second = said.split(BODY)[:2]
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert HEAD in first
    assert b"connection: close" not in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n\r\n" in second
    assert said.endswith(BODY), "then the server hung up"


def test_other_applications_answer_as_ever():
    assert talk(post("/", "Connection: close\r\n")).endswith(b"yes")


def test_only_posts_are_answered_at_once():
    said = talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.endswith(b"no ")
