"""The running request, for whatever is written down about it: who asks, from where, with what."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from common.address import client_address
from common.logs import mask

MAX_CLIENT = 200  # of what a client says about itself


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request was found to come from, so far; all None for nobody in particular."""

    user_id: UUID | None = None
    key_id: UUID | None = None
    organization_id: UUID | None = None


NOBODY = Caller()


@dataclass(slots=True)
class RequestContext:
    """address: through the trusted proxies, "" where there is none. client: the shortened user agent."""

    request_id: UUID
    address: str
    client: str
    request: Any

    @property
    def caller(self) -> Caller:
        """Asked for anew each time: who calls is known only once the request has been authenticated."""
        return caller_of(self.request)


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def begin_request(request: Any, request_id: UUID) -> Token[RequestContext | None]:
    """From here on, everything in this context runs for `request`. Returns what `end_request` takes."""
    client = shorten(request.META.get("HTTP_USER_AGENT") or "")
    return _current.set(RequestContext(request_id, client_address(request), client, request))


def end_request(token: Token[RequestContext | None]) -> None:
    _current.reset(token)


def current_request() -> RequestContext | None:
    """The request that this code runs for; None in tasks and commands."""
    return _current.get()


def current_client() -> tuple[str, str]:
    """Address and user agent of whoever asks; two empty texts in tasks and commands."""
    context = _current.get()
    return (context.address, context.client) if context is not None else ("", "")


def caller_of(request: Any) -> Caller:
    """Whom a Django request was found to come from. Asks nothing: an untouched session stays untouched."""
    known = vars(request)
    actor = known.get("actor")
    user = actor.user if actor is not None else known.get("_cached_user")
    if user is None or not user.is_authenticated:
        return NOBODY
    if actor is None:
        return Caller(user_id=user.pk)
    return Caller(
        user_id=user.pk,
        key_id=actor.key.id if actor.key is not None else None,
        organization_id=actor.organization.pk if actor.organization is not None else None,
    )


@lru_cache(maxsize=1024)
def shorten(user_agent: str) -> str:
    """What a client says about itself, harmless in a log and a table: printable, without secrets, at most 200 long."""
    printable = "".join(character if character.isprintable() else " " for character in user_agent[: 4 * MAX_CLIENT])
    return mask(printable).strip()[:MAX_CLIENT]
