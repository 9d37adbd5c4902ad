"""The application of a gateway process: it answers the calls of models, and Django everything else.

Calls come past ASGI (`common.serving`). Under a server that knows ASGI alone they reach Django, which says that this
process does not serve them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from common.serving import Handler, Request
from gateway.errors import GatewayElsewhere
from gateway.hotpath.call import Gateway
from gateway.hotpath.exchange import Exchange
from gateway.hotpath.predictions import PATH as PREDICTIONS
from gateway.hotpath.rules import KINDS
from gateway.hotpath.wire import INVOKE

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_gateway: Gateway | None = None


async def running_gateway() -> Gateway:
    """The gateway of this process and its event loop. Raises GatewayElsewhere in a process that was started without."""
    if _gateway is None:
        raise GatewayElsewhere()
    return _gateway


class Application:
    """The gateway with `django_app` behind it."""

    def __init__(self, django_app: App) -> None:
        self._django_app = django_app

    def handler_of(self, method: str, path: str) -> Handler | None:
        """`common.serving.Direct`: the addresses where models are called."""
        if path in KINDS:
            return _serve
        if path.startswith("/api/models/") and INVOKE.fullmatch(path):
            return _serve
        if path == PREDICTIONS and method == "POST":
            return _serve
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._django_app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)


def _serve(request: Request) -> Coroutine[Any, Any, None]:
    return Exchange(_gateway, request).serve()


async def _live(receive: Receive, send: Send) -> None:
    global _gateway
    await receive()
    _gateway = Gateway()
    await _gateway.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await _gateway.close()
    _gateway = None
    await send({"type": "lifespan.shutdown.complete"})
