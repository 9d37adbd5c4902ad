"""Predictions in a gateway process: taken in, taken up when there is room, made by the coroutine of every other call.

The row is the work: what a process hears by LISTEN only makes it look sooner than its next round.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.ids import encode
from common.outbound import OutboundRefused, check_url
from common.problems import FieldError, InternalError, Problem, ServiceUnavailable, ValidationFailed, flatten
from common.rest import CharField, IntegerField, ListField, Serializer, json_type
from gateway import errors
from gateway.hotpath.callers import Caller
from gateway.hotpath.orm import run_in_django
from gateway.hotpath.rules import Call, check_input, failure, kind_of, problem_of
from gateway.hotpath.snapshot import Listing
from gateway.models import Prediction
from gateway.services.calls import Reserve, Settle
from gateway.services.prediction_content import content_of
from gateway.services.predictions import (
    CHANNEL,
    LEASE,
    Asked,
    accept_prediction,
    begin_prediction,
    claim_predictions,
    finish_prediction,
    read_prediction,
    refuse_prediction,
    release_predictions,
    renew_predictions,
)

if TYPE_CHECKING:
    from gateway.hotpath.call import Gateway

logger = logging.getLogger("gateway.prediction")

PATH = "/v1/predictions"
EVENTS = ("started", "completed")
MAX_WAIT_SECONDS = 60
LOOK_SECONDS = 5.0  # between two looks at the line, when nothing is heard
RENEW_SECONDS = LEASE.total_seconds() / 4
RECONNECT_SECONDS = 2.0
FINISH_SECONDS = 600.0  # for which a result is kept in memory while the database is away
MAX_URL_LENGTH = 2000
NOBODY = UUID(int=0)

_WAIT = re.compile(r"(?:^|,)\s*wait(?:\s*=\s*\"?([0-9]{1,6})\"?)?\s*(?:;[^,]*)?(?=,|$)", re.IGNORECASE)


# --- What is asked for ------------------------------------------------------------------------------------------------


@extend_schema_field(OpenApiTypes.OBJECT)
class ObjectField(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A JSON object, as it is: the model's own schema says what may stand in it."""

    default_error_messages = {"invalid": "Send an object, not {datatype}."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid", datatype=json_type(data))
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class PredictionIn(Serializer):
    """`input`: what the model takes; of an OpenAI-compatible one the body without `model`, and never `stream`.

    `webhook`: an https:// address to be told at, of what `webhook_events` names, by default of the end alone.
    `deadline_seconds`: how long it may take, waiting included; by default as long as the instance allows.
    """

    model = CharField(max_length=200)
    input = ObjectField()
    webhook = CharField(max_length=MAX_URL_LENGTH, required=False)
    webhook_events = ListField(
        child=serializers.ChoiceField(choices=EVENTS), required=False, allow_empty=False, max_length=len(EVENTS)
    )
    deadline_seconds = IntegerField(min_value=1, required=False)


def prediction_call(caller: Caller, listing: Listing, body: Mapping[str, Any], id: UUID) -> Call:
    """The call that a body of `POST /v1/predictions` asks for, checked. Raises ValidationFailed with every fault."""
    bound = PredictionIn(data=body)
    if not bound.is_valid():
        details = serializers.ValidationError(bound.errors).get_full_details()
        raise ValidationFailed(errors=flatten(details))
    values = bound.validated_data
    if faults := list(_faults(values)):
        raise ValidationFailed(errors=faults)
    encoded = msgspec.json.encode(values["input"])
    call = Call(caller, listing, kind_of(listing, values["input"]), values["input"], len(encoded), id=id)
    try:
        check_input(call)
    except ValidationFailed as problem:
        inner: list[FieldError] = [{**fault, "pointer": f"/input{fault['pointer']}"} for fault in problem.errors]
        raise ValidationFailed("The input does not fit the model's schema.", errors=inner) from None
    call.asked = Asked(
        input=encoded,
        webhook=values.get("webhook"),
        webhook_events=sorted(set(values.get("webhook_events") or ["completed"])),
        seconds=min(values.get("deadline_seconds", settings.PREDICTION_MAX_SECONDS), settings.PREDICTION_MAX_SECONDS),
    )
    return call


def _faults(values: Mapping[str, Any]) -> Any:
    if values["input"].get("stream") is True:
        yield FieldError(pointer="/input/stream", code="not_streamed", detail="A prediction is not streamed.")
    if "webhook" in values:
        try:
            check_url(values["webhook"])
        except OutboundRefused as refusal:
            yield FieldError(pointer="/webhook", code="refused", detail=str(refusal))
    elif "webhook_events" in values:
        yield FieldError(pointer="/webhook_events", code="no_webhook", detail="Say at which `webhook`.")


def seconds_to_wait(prefer: str) -> int | None:
    """Of the header `Prefer: wait=5`; without a number the longest time. None: not at all."""
    found = _WAIT.search(prefer)
    if found is None:
        return None
    return MAX_WAIT_SECONDS if found[1] is None else min(int(found[1]), MAX_WAIT_SECONDS)


# --- In the process ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Job:
    """A prediction that this process has. `why`: for what its task was cancelled."""

    prediction: Prediction
    task: asyncio.Task[None] = field(init=False)
    is_asking: bool = False  # the upstream
    why: str = ""

    def hang_up(self, why: str) -> None:
        """In the middle of asking; what is being written is written to its end."""
        self.why = self.why or why
        if self.is_asking:
            self.task.cancel()


class Predictions:
    """Those of one process: at most `PREDICTIONS_PER_PROCESS` at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker = uuid4()
        self._jobs: dict[UUID, Job] = {}
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._look = asyncio.Event()
        self._is_closing = False
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._loops = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._take_up()),
            asyncio.create_task(self._renew()),
        ]

    async def close(self, deadline: float) -> None:
        """Take nothing up any more, let what runs end until `deadline` (monotonic), then hang up.

        What had not reached its upstream goes back in line. Nobody waits here any longer.
        """
        self._is_closing = True
        for events in self._waiting.values():
            for event in events:
                event.set()
        while self._jobs and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for job in self._jobs.values():
            job.hang_up("stopped")
        if self._jobs:
            await asyncio.wait([job.task for job in self._jobs.values()], timeout=5)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    # --- For whoever makes one ---

    async def accept(self, call: Call) -> bytes:
        """Put it in line. Returns it as JSON. Raises PredictionsFull, and the 402 that names the budget."""
        assert call.asked is not None
        reserve = self._gateway.reserve_of(call)
        return await run_in_django(_accepted, reserve, call.asked)

    async def wait(self, id: UUID, seconds: float) -> bytes | None:
        """It as JSON if it ends within that time; None also where nobody can say."""
        ended = asyncio.Event()
        self._waiting.setdefault(id, set()).add(ended)
        try:
            with contextlib.suppress(ServiceUnavailable):
                found: bytes | None = await run_in_django(_if_ended, id)  # it may have ended before anybody listened
                if found is None and not self._is_closing:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await ended.wait()
                    found = await run_in_django(_if_ended, id)
                return found
            return None
        finally:
            self._waiting[id].discard(ended)
            if not self._waiting[id]:
                del self._waiting[id]

    # --- What a process does beside its calls ---

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    settings.DATABASE_URL, autocommit=True, connect_timeout=3
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._look.set()  # for what came while nobody listened
                    async for notice in connection.notifies():
                        self._hear(notice.payload)
            except (psycopg.Error, OSError) as error:
                logger.info("predictions_not_heard", extra={"error": type(error).__name__})  # the rounds go on
            await asyncio.sleep(RECONNECT_SECONDS)

    def _hear(self, said: str) -> None:
        what, _, name = said.partition(" ")
        if what == "queued":
            self._look.set()
        elif what == "ended":
            self._look.set()  # another of its organization may run now
            for event in self._waiting.get(UUID(name), ()):
                event.set()
        elif what == "cancel" and (job := self._jobs.get(UUID(name))) is not None:
            job.hang_up("canceled")

    async def _take_up(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            self._look.clear()
            room = settings.PREDICTIONS_PER_PROCESS - len(self._jobs)
            if room <= 0 or self._is_closing:
                continue  # the next one to end looks again
            try:
                claimed = await run_in_django(_claimed, self._worker, room)
            except Exception as error:
                logger.warning("predictions_not_claimed", extra={"error": type(error).__name__})
                continue
            for prediction in claimed:
                job = self._jobs[prediction.id] = Job(prediction)
                job.task = asyncio.create_task(self._make(job))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not (ids := list(self._jobs)):
                continue
            try:
                own = await run_in_django(_renewed, ids, self._worker)
            except Exception as error:
                logger.warning("predictions_not_renewed", extra={"error": type(error).__name__})
                continue
            for id in ids:
                if (job := self._jobs.get(id)) is None:
                    continue
                if id not in own:
                    job.hang_up("lost")
                elif own[id]:  # what was said may not have been heard
                    job.hang_up("canceled")

    # --- One of them ---

    async def _make(self, job: Job) -> None:
        id = job.prediction.id
        try:
            await self._ask_and_finish(job)
        except Exception:
            logger.exception("prediction_left", extra={"prediction_id": job.prediction.public_id})  # to the sweep
        finally:
            del self._jobs[id]
            self._look.set()

    async def _ask_and_finish(self, job: Job) -> None:
        prediction = job.prediction
        try:
            call = await self._call_of(prediction)
        except ServiceUnavailable:  # it goes back in line when its lease has ended
            raise
        except Problem as fault:
            await run_in_django(_refused, prediction.id, self._worker, fault)
            return
        if self._is_closing or job.why == "stopped":
            await run_in_django(_released, [prediction.id], self._worker)
        elif await run_in_django(_begun, prediction.id, self._worker):
            settle, output, problem = await self._ask(job, call)
            if job.why != "lost":
                await self._finish(prediction.id, settle, output, problem)

    async def _call_of(self, prediction: Prediction) -> Call:
        """As it was when it was accepted; the endpoint is that of now. Raises ModelNotCallable, ServiceUnavailable."""
        listing = await self._gateway.snapshots.pinned_listing((prediction.version_id, prediction.price_id))
        if listing is None:
            raise errors.ModelNotCallable()
        _ = listing.endpoint  # or it is not callable
        given = content_of(prediction, "sealed_input") or b"{}"
        caller = Caller(
            organization_id=prediction.organization_id,
            user_id=prediction.user_id or NOBODY,
            api_key_id=prediction.api_key_id,
            mode=prediction.mode,
            public_key_id="" if prediction.api_key_id is None else encode("key", prediction.api_key_id),
        )
        call = Call(caller, listing, prediction.kind, msgspec.json.decode(given), len(given), id=prediction.id)
        call.hold_nano = prediction.hold_nano
        call.most_seconds = (prediction.deadline_at - (prediction.started_at or prediction.created_at)).total_seconds()
        return call

    async def _ask(self, job: Job, call: Call) -> tuple[Settle, bytes | None, Problem | None]:
        """How to settle it, and its output or what went wrong. It may be told to hang up at any moment."""
        job.is_asking = True
        try:
            if job.why:  # told in the moment before
                raise asyncio.CancelledError
            async with asyncio.timeout(call.most_seconds):
                reply, _output, _usage, settle = await self._gateway.ask(call)
            return settle, reply.body, None
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            problem: Problem = errors.PredictionCanceled() if job.why == "canceled" else errors.GatewayStopped()
        except TimeoutError:
            problem = errors.PredictionLate()
        except Exception as error:
            problem = problem_of(error)
            if isinstance(problem, InternalError):
                logger.exception("unexpected", extra={"request_id": call.request_id})
        finally:
            job.is_asking = False
        return failure(call, problem), None, problem

    async def _finish(self, id: UUID, settle: Settle, output: bytes | None, problem: Problem | None) -> None:
        """Tried until the database takes it: what came back is nowhere else."""
        until = time.monotonic() + FINISH_SECONDS
        while True:
            try:
                await run_in_django(_finished, id, self._worker, settle, output, problem)
                return
            except ServiceUnavailable:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(RECONNECT_SECONDS)


# --- On a thread ------------------------------------------------------------------------------------------------------


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":")).encode()


def _accepted(reserve: Reserve, asked: Asked) -> bytes:
    return _json(accept_prediction(reserve=reserve, asked=asked))


def _if_ended(id: UUID) -> bytes | None:
    ended = Prediction.objects.filter(pk=id).exclude(completed_at=None).exists()
    return _json(read_prediction(id)) if ended else None


def _claimed(worker: UUID, room: int) -> list[Prediction]:
    return claim_predictions(worker=worker, room=room)


def _renewed(ids: list[UUID], worker: UUID) -> dict[UUID, bool]:
    return renew_predictions(ids=ids, worker=worker)


def _released(ids: list[UUID], worker: UUID) -> int:
    return release_predictions(ids=ids, worker=worker)


def _refused(id: UUID, worker: UUID, problem: Problem) -> None:
    refuse_prediction(id=id, worker=worker, problem=problem)


def _begun(id: UUID, worker: UUID) -> bool:
    return begin_prediction(id=id, worker=worker)


def _finished(id: UUID, worker: UUID, settle: Settle, output: bytes | None, problem: Problem | None) -> bool:
    return finish_prediction(id=id, worker=worker, settle=settle, output=output, problem=problem)
