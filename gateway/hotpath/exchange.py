"""One request for a model and its answer.

Errors leave in the envelope of OpenAI's or Anthropic's clients under `/v1`, as problem documents under `/api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import QueryDict

from common.address import connection_address, network_of
from common.ids import encode, uuid7
from common.limiter import Decision, headers_of
from common.limits import bucket_of_network
from common.problems import (
    ANTHROPIC_PATHS,
    CONTENT_TYPE,
    BadRequestProblem,
    InternalError,
    MethodNotAllowed,
    PayloadTooLarge,
    Problem,
    RateLimited,
    ServiceUnavailable,
    UnsupportedMediaType,
    ValidationFailed,
    envelope_at,
)
from common.rest import Query, read_query
from common.serving import Request
from gateway.adapters.anthropic import PASSED_HEADERS
from gateway.errors import GatewayElsewhere, GatewayStopped, WrongProtocol
from gateway.hotpath.admission import admit
from gateway.hotpath.call import Gateway
from gateway.hotpath.callers import Caller
from gateway.hotpath.deployments import instead_of
from gateway.hotpath.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.hotpath.predictions import PATH as PREDICTIONS
from gateway.hotpath.predictions import prediction_call, seconds_to_wait
from gateway.hotpath.pressure import SMALL_BYTES, Pressure
from gateway.hotpath.rules import KINDS, STREAMED_KINDS, Call, kind_of
from gateway.hotpath.snapshot import Listing
from gateway.hotpath.stream import Stream
from gateway.hotpath.wire import MAX_BODY_BYTES, head_lines, model_key, parse_body, route_of
from gateway.models import Invocation
from observability.services import Kept, Seen, note_request

logger = logging.getLogger("gateway.app")

PARSED_ASIDE_BYTES = 64 * 1024  # what is larger would keep other calls waiting for too long
BODY_SECONDS = 60
JSON = b"application/json"


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_address",
        "_began",
        "_caller",
        "_error_code",
        "_gateway",
        "_headers",
        "_id",
        "_is_v1",
        "_path",
        "_pressure",
        "_rates",
        "_request",
        "_request_id",
        "_status",
        "_weighed",
    )

    def __init__(self, gateway: Gateway | None, request: Request) -> None:
        """gateway: None in a process that was started without."""
        self._gateway, self._request = gateway, request
        self._path, self._headers = request.path, request.headers
        self._is_v1 = request.path.startswith("/v1/")
        self._address = connection_address(request.remote, request.headers.get(b"x-forwarded-for", b""))
        self._began = time.perf_counter()
        self._id = uuid7()
        self._request_id = encode("req", self._id)
        self._status, self._error_code = 0, ""
        self._caller: Caller | None = None
        self._rates: list[Decision] = []
        self._pressure: Pressure | None = None
        self._weighed = 0  # bytes of the body that count there

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
            Seen(  # by position, which costs a third of it by name
                self._id,
                None if caller is None else caller.user_id,
                None if caller is None else caller.api_key_id,
                None if caller is None else caller.organization_id,
                self._request.method,
                route_of(self._path),
                self._status,
                (time.perf_counter() - self._began) * 1000,
                self._error_code,
                self._address,
                self._headers.get(b"user-agent", b"").decode("latin-1"),
            )
        )

    async def _serve(self) -> None:
        request = self._request
        if request.method != "POST":
            raise MethodNotAllowed("Models are called with POST.", headers={"Allow": "POST"})
        gateway = self._gateway
        if gateway is None:
            raise GatewayElsewhere()
        pressure = gateway.pressure
        pressure.require_place(pressure.calls)
        pressure.calls += 1
        self._pressure = pressure
        caller = self._caller = await admit(gateway, self._headers, self._address, takes_tokens=not self._is_v1)
        self._rates = await gateway.check_rate(caller.buckets)
        if request.query and not self._is_v1:  # there clients add their own, such as an `api-version`
            read_query(Query, QueryDict(request.query))
        raw = await self._read_body()
        body = parse_body(raw) if len(raw) <= PARSED_ASIDE_BYTES else await asyncio.to_thread(parse_body, raw)
        listing, deployed = await gateway.find(self._model_name(body), caller)
        if deployed is not None and deployed.buckets:
            self._rates = [*self._rates, *await gateway.check_rate(deployed.buckets)]
        if self._path == PREDICTIONS:
            call = prediction_call(caller, listing, body, self._id)
        else:
            kind = self._kind(listing, body)
            call = Call(caller, listing, kind, body, len(raw), id=self._id, request_id=self._request_id)
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
            method=self._request.method,
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

    # --- What is called ---

    async def _read_body(self) -> bytes:
        content_type = self._headers.get(b"content-type", JSON)
        if content_type != JSON and content_type.partition(b";")[0].strip().lower() != JSON:
            raise UnsupportedMediaType()
        request = self._request
        if not request.more_body and request.unread <= SMALL_BYTES and not request.has_left:
            return request.take()  # as nearly all come
        declared = self._headers.get(b"content-length", b"")
        size = int(declared) if declared.isdigit() else 0
        if size > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"At most {MAX_BODY_BYTES} bytes.")
        if size > SMALL_BYTES and self._pressure is not None:
            self._pressure.require_room(size)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._receive_body()
        except TimeoutError:
            raise BadRequestProblem(f"The body did not arrive within {BODY_SECONDS} seconds.") from None
        except ConnectionError:
            raise BadRequestProblem("The body ended before it was complete.") from None

    async def _receive_body(self) -> bytes:
        """Raises ConnectionError when the client leaves before its end."""
        request, parts, size = self._request, [], 0
        while True:
            part = await request.receive()
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise PayloadTooLarge(f"At most {MAX_BODY_BYTES} bytes.")
            if size > SMALL_BYTES and self._pressure is not None:
                self._weighed = self._pressure.weigh(size, self._weighed)
            parts.append(part)
            if not request.more_body:
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
        request = self._request

        async def emit(data: bytes, more: bool = True) -> None:
            if not request.response_started:
                self._status = 200
                request.begin(200, head_lines(headers))
            await request.send(data, more)

        may_fall_back = call.deployment is not None and call.deployment.fallback_id not in (None, call.listing.id)
        # What keeps a connection alive would tell who answers, before that is known.
        stream = Stream(gateway, call, emit, keeps_alive=not may_fall_back)
        request.when_gone(stream.client_left)
        try:
            await stream.run()
            return
        except Problem as problem:
            if call.deployment is None or (second := await instead_of(gateway, call, problem)) is None:
                raise
        finally:
            request.when_gone(None)
        await self._stream(gateway, second)

    def _own_headers(self) -> dict[str, str]:
        own = {"x-request-id": self._request_id, "x-content-type-options": "nosniff"}
        if self._path in ANTHROPIC_PATHS:  # whose clients look for it under this name
            own["request-id"] = self._request_id
        return own | (headers_of(self._rates) if self._rates else {})

    async def _counted(self, problem: Problem) -> Problem:
        """What is refused before anybody is known draws from the network that it came from: guesses count too."""
        if self._gateway is None or self._rates or isinstance(problem, RateLimited | ServiceUnavailable):
            return problem
        try:
            self._rates = await self._gateway.check_rate([bucket_of_network(network_of(self._address))])
        except Problem as other:
            return other
        return problem

    async def _refuse(self, problem: Problem) -> None:
        self._error_code = problem.code
        if self._request.response_started:  # too late for a status: the connection ends without its last chunk
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
        self._status = status
        await self._request.answer(status, head_lines(headers, len(body)), body)
