"""The ASGI application in front of Django: it answers the calls of models and hands every other path on.

Errors leave in the envelope of OpenAI's or Anthropic's clients under `/v1`, as problem documents under `/api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import QueryDict

from accounts.services import find_bearer, resolve_actor
from apikeys.errors import IPNotAllowed, KeyExpired, KeyMalformed, KeyRevoked, KeyUnknown
from apikeys.services import candidate_digests
from common.address import connection_address, network_of
from common.ids import encode, uuid7
from common.limiter import Decision, headers_of
from common.limits import bucket_of_network
from common.policy import require_own_organization
from common.problems import (
    ANTHROPIC_PATHS,
    CONTENT_TYPE,
    BadRequestProblem,
    InternalError,
    InvalidCredentials,
    MethodNotAllowed,
    NotAuthenticated,
    PayloadTooLarge,
    Problem,
    RateLimited,
    ServiceUnavailable,
    UnsupportedMediaType,
    ValidationFailed,
    envelope_at,
)
from common.rest import Query, read_query
from common.serving import WHOLE, SendWhole
from gateway.adapters.anthropic import PASSED_HEADERS
from gateway.errors import GatewayElsewhere, GatewayStopped, WrongProtocol
from gateway.hotpath.call import Gateway
from gateway.hotpath.callers import Caller
from gateway.hotpath.deployments import instead_of
from gateway.hotpath.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.hotpath.orm import run_in_django
from gateway.hotpath.predictions import PATH as PREDICTIONS
from gateway.hotpath.predictions import prediction_call, seconds_to_wait
from gateway.hotpath.pressure import SMALL_BYTES, Pressure
from gateway.hotpath.rules import KINDS, STREAMED_KINDS, Call, kind_of
from gateway.hotpath.snapshot import Listing
from gateway.hotpath.stream import Stream
from gateway.hotpath.wire import (
    INVOKE,
    MAX_BODY_BYTES,
    head_lines,
    model_key,
    parse_body,
    raw_headers,
    read_headers,
    route_of,
)
from gateway.models import Invocation
from observability.services import Kept, Seen, note_request

logger = logging.getLogger("gateway.app")

PARSED_ASIDE_BYTES = 64 * 1024  # what is larger would keep other calls waiting for too long
BODY_SECONDS = 60
NONE: Mapping[str, Any] = {}

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


def application_for(django_app: App) -> App:
    """The gateway with `django_app` behind it."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if (
                path in KINDS
                or (path.startswith("/api/models/") and INVOKE.fullmatch(path))
                or (path == PREDICTIONS and scope["method"] == "POST")
            ):
                await Exchange(scope, receive, send).serve()
            else:
                await django_app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)

    return application


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


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._send_whole: SendWhole | None = scope.get("extensions", NONE).get(WHOLE, NONE).get("send")
        self._path: str = scope["path"]
        self._method: str = scope["method"]
        self._query: bytes = scope.get("query_string", b"")
        self._headers = read_headers(scope["headers"])
        self._address = connection_address(scope, self._headers)
        self._began = time.perf_counter()
        self._id = uuid7()
        self._request_id = encode("req", self._id)
        self._has_started = False
        self._status, self._error_code = 0, ""
        self._caller: Caller | None = None
        self._rates: list[Decision] = []
        self._pressure: Pressure | None = None
        self._weighed = 0  # bytes of the body that count there

    @property
    def _is_v1(self) -> bool:
        return self._path.startswith("/v1/")

    async def serve(self) -> None:
        try:
            await self._serve()
        except Problem as problem:
            await self._refuse(await self._counted(problem))
        except asyncio.CancelledError:  # the process ends, and with this answer the task does
            await self._refuse(GatewayStopped())
        except Exception:
            logger.exception("unexpected", extra={"request_id": self._request_id})
            await self._refuse(InternalError())
        finally:
            if (pressure := self._pressure) is not None:
                pressure.calls -= 1
                pressure.bytes -= self._weighed
            self._note()

    def _note(self) -> None:
        """Leave a row for the request log."""
        caller = self._caller
        note_request(
            Seen(
                id=self._id,
                user_id=caller.user_id if caller is not None else None,
                key_id=caller.api_key_id if caller is not None else None,
                organization_id=caller.organization_id if caller is not None else None,
                method=self._method,
                route=route_of(self._path),
                status=self._status,
                ms=(time.perf_counter() - self._began) * 1000,
                error_code=self._error_code,
                address=self._address,
                client=self._headers.get(b"user-agent", b"").decode("latin-1"),
            )
        )

    async def _serve(self) -> None:
        if self._method != "POST":
            raise MethodNotAllowed("Models are called with POST.", headers={"Allow": "POST"})
        gateway = await running_gateway()
        pressure = gateway.pressure
        pressure.require_place(pressure.calls)
        pressure.calls += 1
        self._pressure = pressure
        caller = self._caller = await self._authenticate(gateway)
        self._rates = await gateway.check_rate(caller.buckets)
        if self._query and not self._is_v1:  # there clients add their own, such as an `api-version`
            read_query(Query, QueryDict(self._query))
        raw = await self._read_body()
        body = parse_body(raw) if len(raw) <= PARSED_ASIDE_BYTES else await asyncio.to_thread(parse_body, raw)
        listing, deployed = await gateway.find(self._model_name(body), caller)
        if deployed is not None and deployed.buckets:
            self._rates = [*self._rates, *await gateway.check_rate(deployed.buckets)]
        if self._path == PREDICTIONS:
            call = prediction_call(caller, listing, body, self._id)
        else:
            call = Call(caller, listing, self._kind(listing, body), body, len(raw), id=self._id)
        if call.kind == Invocation.Kind.MESSAGES:
            given = ((name, self._headers.get(name.encode())) for name in PASSED_HEADERS)
            call.passed_headers = {name: value.decode("latin-1") for name, value in given if value}
        call.is_streamed = body.get("stream") is True and call.kind in STREAMED_KINDS
        call.deployment = deployed
        if IDEMPOTENCY_KEY in self._headers:
            await self._call_once(gateway, call, raw)
        else:
            await self._call(gateway, call)

    async def _call(self, gateway: Gateway, call: Call) -> None:
        if call.asked is not None:
            await self._predict(gateway, call)
        elif call.is_streamed:
            await self._stream(gateway, call)
        else:
            answer = await gateway.answer(call)
            await self._respond(200, {**answer.headers, **self._own_headers()}, answer.body)

    async def _call_once(self, gateway: Gateway, call: Call, raw: bytes) -> None:
        """A call under an idempotency key: made, or answered as it was the first time."""
        claim = await gateway.idempotency.claim(
            self._headers[IDEMPOTENCY_KEY],
            id=self._id,
            organization_id=call.caller.organization_id,
            method=self._method,
            path=self._path,
            mode=call.caller.mode,
            body=raw,
        )
        if isinstance(claim, Kept):
            repeated = {"idempotency-replayed": "true", "x-original-request-id": encode("req", claim.id)}
            await self._respond(claim.status, {**claim.headers, **self._own_headers(), **repeated}, claim.body)
            return
        call.claim = claim
        try:
            await self._call(gateway, call)
        except BaseException:  # nothing was delivered
            await asyncio.shield(claim.release())
            raise

    # --- Who calls ---

    async def _authenticate(self, gateway: Gateway) -> Caller:
        """The caller behind an API key, or under `/api` also behind an access token."""
        secret = self._credential()
        organization = self._headers.get(b"agorai-organization", b"").decode("latin-1") or None
        if secret.startswith("eyJ") and not self._is_v1:
            return await gateway.snapshots.caller_of_person(await run_in_django(_actor_ids, secret, organization))
        caller = await gateway.snapshots.caller_of_key(tuple(candidate_digests(secret)))
        now = time.monotonic()
        if caller is None:
            raise KeyUnknown()
        if caller.is_revoked:
            raise KeyRevoked()
        if caller.is_orphaned:
            raise InvalidCredentials("The person or the organization that this key belongs to is no longer there.")
        if caller.overlap_ends is not None and caller.overlap_ends <= now:
            raise KeyRevoked("This secret was replaced by a rotation, and the time of overlap has ended.")
        if caller.expires is not None and caller.expires <= now:
            raise KeyExpired()
        if not caller.may_come_from(self._address):
            raise IPNotAllowed()
        require_own_organization(caller.organization_id, organization)
        gateway.note_use(caller, self._address, self._headers.get(b"user-agent", b"").decode("latin-1"))
        return caller

    def _credential(self) -> str:
        authorization = self._headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() == "bearer" and secret.strip():
            return secret.strip()
        if key := self._headers.get(b"x-api-key", b"").decode("latin-1").strip():
            return key
        if authorization:
            raise KeyMalformed()
        raise NotAuthenticated()

    # --- What is called ---

    async def _read_body(self) -> bytes:
        content_type = self._headers.get(b"content-type", b"application/json").decode("latin-1")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType()
        declared = self._headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"At most {MAX_BODY_BYTES} bytes.")
        if self._pressure is not None and len(declared) > 4 and declared.isdigit() and int(declared) > SMALL_BYTES:
            self._pressure.require_room(int(declared))
        task, is_late = asyncio.current_task(), False

        def give_up() -> None:
            nonlocal is_late
            is_late = task is not None and task.cancel()

        timer = asyncio.get_running_loop().call_later(BODY_SECONDS, give_up)  # a timeout's context costs more
        try:
            return await self._receive_body()
        except asyncio.CancelledError:
            if not is_late or (task is not None and task.uncancel() > 0):
                raise
            raise BadRequestProblem(f"The body did not arrive within {BODY_SECONDS} seconds.") from None
        finally:
            timer.cancel()

    async def _receive_body(self) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise BadRequestProblem("The body ended before it was complete.")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise PayloadTooLarge(f"At most {MAX_BODY_BYTES} bytes.")
            if size > SMALL_BYTES and self._pressure is not None:
                self._weighed = self._pressure.weigh(size, self._weighed)
            more = message.get("more_body", False)
            if size == len(part) and not more:
                return part  # as nearly all come
            parts.append(part)
        return b"".join(parts)

    def _model_name(self, body: dict[str, Any]) -> UUID | str:
        if self._is_v1:
            name = body.get("model")
            if not isinstance(name, str) or not name:
                detail = "Name the model as `publisher/name`." if name is None else "The model is named by a string."
                raise ValidationFailed(errors=[{"pointer": "/model", "code": "required", "detail": detail}])
        else:
            name = self._path.split("/")[3]  # /api/models/{name}/invoke
        return model_key(name)

    def _kind(self, listing: Listing, body: dict[str, Any]) -> str:
        """Refuses an address that does not fit the model's protocol."""
        if not self._is_v1:
            return kind_of(listing, body)
        kind, protocol = KINDS[self._path], listing.endpoint.protocol
        if protocol != "json" and (kind == Invocation.Kind.MESSAGES) is (protocol == "anthropic"):
            return kind
        path = {"json": f"/api/models/{encode('mdl', listing.id)}/invoke", "anthropic": "/v1/messages"}
        address = settings.SITE_URL + path.get(protocol, "/v1/chat/completions")
        raise WrongProtocol(f"This model is called at {address}.", fix_url=address)

    # --- The answer ---

    async def _predict(self, gateway: Gateway, call: Call) -> None:
        """Put it in line, and answer with its end if that comes while the client wants to wait."""
        document = await gateway.predictions.accept(call)
        location = f"{settings.SITE_URL}{PREDICTIONS}/{encode('pred', call.id)}"
        headers = {"content-type": "application/json", "location": location, "x-model-version": call.listing.version}
        status = 202
        if call.claim is not None:  # that it is in line is the effect, whatever comes of it
            call.claim.headers = dict(headers)
            await call.claim.keep(None, document, status=status)
        seconds = seconds_to_wait(self._headers.get(b"prefer", b"").decode("latin-1"))
        if seconds is not None:
            headers["preference-applied"] = f"wait={seconds}"
            if (ended := await gateway.predictions.wait(call.id, seconds)) is not None:
                status, document = 201, ended
                if call.claim is not None:
                    with contextlib.suppress(ServiceUnavailable):  # then a repeat gets what was kept before
                        await call.claim.keep(None, document, status=status)
        await self._respond(status, {**headers, **self._own_headers()}, document)

    async def _stream(self, gateway: Gateway, call: Call) -> None:
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "x-model": call.listing.slug,
            "x-model-version": call.listing.version,
        }
        if call.claim is not None:
            call.claim.headers = dict(headers)
        headers |= self._own_headers()

        async def emit(data: bytes, more: bool = True) -> None:
            if not self._has_started:
                await self._start(200, headers)
            await self._send({"type": "http.response.body", "body": data, "more_body": more})

        may_fall_back = call.deployment is not None and call.deployment.fallback_id not in (None, call.listing.id)
        # What keeps a connection alive would tell who answers, before that is known.
        stream = Stream(gateway, call, emit, keeps_alive=not may_fall_back)
        watch = asyncio.create_task(self._watch_client(stream))
        try:
            await stream.run()
            return
        except Problem as problem:
            if call.deployment is None or (second := await instead_of(gateway, call, problem)) is None:
                raise
        finally:
            watch.cancel()
        await self._stream(gateway, second)

    async def _watch_client(self, stream: Stream) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        stream.client_left()

    def _own_headers(self) -> dict[str, str]:
        own = {"x-request-id": self._request_id, "x-content-type-options": "nosniff"}
        if self._path in ANTHROPIC_PATHS:  # whose clients look for it under this name
            own["request-id"] = self._request_id
        return own | (headers_of(self._rates) if self._rates else {})

    async def _counted(self, problem: Problem) -> Problem:
        """What is refused before anybody is known draws from the network that it came from: guesses count too."""
        if self._rates or isinstance(problem, RateLimited | GatewayElsewhere | ServiceUnavailable):
            return problem
        try:
            gateway = await running_gateway()
            self._rates = await gateway.check_rate([bucket_of_network(network_of(self._address))])
        except Problem as other:
            return other
        return problem

    async def _refuse(self, problem: Problem) -> None:
        self._error_code = problem.code
        if self._has_started:  # too late for a status: the connection ends without its last chunk
            return
        logger.info("refused", extra={"request_id": self._request_id, "status": problem.status, "code": problem.code})
        content_type = "application/json" if self._is_v1 else CONTENT_TYPE
        headers = {"content-type": content_type, **self._own_headers(), **problem.headers}
        await self._respond(
            problem.status,
            headers,
            json.dumps(envelope_at(self._path)(problem, self._request_id), default=str).encode(),
        )

    async def _respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self._send_whole is None:
            await self._start(status, {**headers, "content-length": str(len(body))})
            await self._send({"type": "http.response.body", "body": body})
        else:
            lines = head_lines(headers, len(body))
            self._has_started = True
            self._status = status
            await self._send_whole(status, lines, body)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._has_started = True
        self._status = status
        await self._send({"type": "http.response.start", "status": status, "headers": list(raw_headers(headers))})


def _actor_ids(token: str, organization: str | None) -> tuple[UUID, UUID]:
    """The organization that the person behind an access token acts for, and the person."""
    user, _token = find_bearer(token)
    return resolve_actor(user, organization)[0].pk, user.pk
