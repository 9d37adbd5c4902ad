"""The outermost middleware: an id for every request, one access line, one shape for errors raised by pages."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.urls import resolve

from common.ids import encode, uuid7
from common.problems import MethodNotAllowed, NotFound, Problem, code_of, is_api_path, problem_response
from observability import services

logger = structlog.get_logger("access")

PROBES = frozenset({"/livez", "/readyz"})
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,100}", re.ASCII)


class RequestMiddleware:
    """Stands first. `request.request_id` is set for everything inside, and `x-request-id` on every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        start = time.perf_counter()
        id = uuid7()
        request_id = encode("req", id)
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        token = services.begin_request(request, id)
        try:
            response = self._answer(request)
            response = _explain_method(request, response)
            response.headers["x-request-id"] = request_id
            ms = round((time.perf_counter() - start) * 1000, 1)
            self._log(request, response, ms)
            if is_api_path(request.path_info):
                _note(request, response, id, ms)
            return response
        finally:
            services.end_request(token)
            structlog.contextvars.clear_contextvars()

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        return problem_response(exception, request) if isinstance(exception, Problem) else None

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Nothing is named with a NUL, and no query could carry it."""
        return problem_response(NotFound(), request) if "\0" in request.path_info else None

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        return self._probe(request) if request.path_info in PROBES else self.get_response(request)

    def _probe(self, request: HttpRequest) -> HttpResponseBase:
        """Probes come by address, without the site's host name, and need neither session nor redirect."""
        request.resolver_match = match = resolve(request.path_info)
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        return response

    def _log(self, request: HttpRequest, response: HttpResponseBase, ms: float) -> None:
        match = request.resolver_match
        if match is None and request.path_info.startswith(settings.STATIC_URL):
            return
        quiet = request.path_info in PROBES and response.status_code < 400
        facts = {
            "method": (request.method or "")[:10],
            "route": match.view_name if match is not None else None,
            "status": response.status_code,
            "ms": ms,
            **_who(request),
        }
        client_id = request.headers.get("x-client-request-id", "")
        if _CLIENT_ID.fullmatch(client_id):
            facts["client_request_id"] = client_id
        logger.log(10 if quiet else 20, "request", **facts)


def _note(request: HttpRequest, response: HttpResponseBase, id: UUID, ms: float) -> None:
    """Leave a row for the request log."""
    match, caller = request.resolver_match, services.caller_of(request)
    address, client = services.current_client()
    services.note_request(
        services.Seen(
            id=id,
            user_id=caller.user_id,
            key_id=caller.key_id,
            organization_id=caller.organization_id,
            method=request.method or "",
            route=match.view_name if match is not None else "",
            status=response.status_code,
            ms=ms,
            error_code=code_of(request),
            address=address,
            client=client,
        )
    )


def _explain_method(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Django's `require_http_methods` answers an empty 405."""
    if not isinstance(response, HttpResponseNotAllowed) or response.content:
        return response
    answer = problem_response(MethodNotAllowed(f"{(request.method or '')[:10]} is not allowed here."), request)
    for name, value in response.headers.items():  # what the middleware inside has set, the page's policy among it
        if name not in ("Content-Length", "Content-Type"):
            answer.headers.setdefault(name, value)
    return answer


def _who(request: HttpRequest) -> Mapping[str, Any]:
    """Ids of whom the request was found to come from."""
    caller = services.caller_of(request)
    ids = {
        "usr": ("user", caller.user_id),
        "org": ("organization", caller.organization_id),
        "key": ("key", caller.key_id),
    }
    return {name: encode(prefix, id) for prefix, (name, id) in ids.items() if id is not None}
