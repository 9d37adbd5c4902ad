"""uvicorn's protocol with one way more to answer: a whole answer in one write.

ASGI sends an answer in two messages, and uvicorn each of them in a write of its own, after a look at every header. An
application that finds `WHOLE` among the scope's extensions may hand head and body at once to its `send`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

WHOLE = "agorai.whole"

#: Status, lines of the head with their ends (`content-length` among them, `connection` not), body.
SendWhole = Callable[[int, bytes, bytes], Awaitable[None]]


class Protocol(HttpToolsProtocol):
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["method"] == "POST":  # which a HEAD is not, whose answer has no body
            cycle.scope["extensions"] = {WHOLE: {"send": _sender(cycle)}}
        super()._start_asgi_task(cycle, app)


def _sender(cycle: RequestResponseCycle) -> SendWhole:
    async def send_whole(status: int, head: bytes, body: bytes) -> None:
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        if cycle.response_started:
            raise RuntimeError("An answer has begun already.")
        parts = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (head, b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join(parts))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    return send_whole
