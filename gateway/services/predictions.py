"""The life of a prediction: accepted with its hold, made by one process at a time, ended together with its call.

Each step is one transaction, takes the prediction before its call, and does nothing where another was faster.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.models import Budget, Membership
from apikeys.errors import KeyRevoked
from common import clock
from common.clock import ClockNow
from common.problems import InvalidCredentials, Problem
from gateway import errors
from gateway.models import Prediction, Rule
from gateway.services.budgets import refusal
from gateway.services.calls import Reserve, Settle, move
from gateway.services.prediction_content import (
    document_of,
    erase_expired,
    error_bytes,
    forget_expired_before,
    seal_content,
    tell_webhook,
)

logger = logging.getLogger("gateway.prediction")

#: Where processes hear what is new: `queued`, `cancel <id>`, `ended <id>`.
CHANNEL = "gateway_predictions"
CLAIM_LOCK = 0x50524544  # claims come one after the other, so that what an organization may have at once is exact
LEASE = timedelta(seconds=60)
BUSY_SECONDS = 10  # after which to ask again where too many wait
ROW_KEPT = timedelta(days=7)  # beyond its content, so that the answer is 410 and not 404

State = Prediction.Status
ENDING = (
    *("status", "worker", "lease_ends_at", "completed_at", "expires_at", "error_code", "cost_nano"),
    *("sealed_error", "sealed_output"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants, checked. `input`: JSON."""

    input: bytes
    webhook: str | None
    webhook_events: Sequence[str]
    seconds: int


# --- Its beginning ----------------------------------------------------------------------------------------------------


@transaction.atomic
def accept_prediction(*, reserve: Reserve, asked: Asked) -> dict[str, Any]:
    """Hold what the call may cost and put it in line, both or neither. Returns the prediction as it is shown.

    Raises PredictionsFull, or the 402 that names the budget.
    """
    what = reserve.what
    mine = Prediction.objects.live().filter(organization=what.organization_id)
    if mine.count() >= settings.PREDICTIONS_PER_ORGANIZATION:
        raise errors.PredictionsFull(retry_after_seconds=BUSY_SECONDS)
    refused = move(reserves=[reserve]).refused
    if refused:
        raise refusal(Budget.objects.get(pk=refused[0]), reserve.hold_nano)
    at = clock.now()
    prediction = Prediction(
        id=reserve.id,
        organization_id=what.organization_id,
        user_id=what.user_id,
        api_key_id=what.api_key_id,
        ai_model_id=what.ai_model_id,
        version_id=what.version_id,
        price_id=what.price_id,
        kind=what.kind,
        mode=what.mode,
        hold_nano=reserve.hold_nano,
        webhook_events=list(asked.webhook_events) if asked.webhook else [],
        created_at=at,
        deadline_at=at + timedelta(seconds=asked.seconds),
    )
    prediction.sealed_input = seal_content(prediction, "sealed_input", asked.input)
    if asked.webhook:
        prediction.sealed_webhook = seal_content(prediction, "sealed_webhook", asked.webhook.encode())
    prediction.save(force_insert=True)
    _say("queued")
    return document_of(_with_names(prediction.pk))


def read_prediction(id: UUID) -> dict[str, Any]:
    """As it is shown. Raises DoesNotExist."""
    return document_of(_with_names(id))


# --- In a process -----------------------------------------------------------------------------------------------------

#: First those of whom fewest are running, and of each the oldest.
CLAIM = """
WITH running AS (
  SELECT organization_id, count(*) AS n FROM gateway_prediction WHERE status = 'running' GROUP BY 1
), waiting AS (
  SELECT p.id, coalesce(r.n, 0) + row_number() OVER (PARTITION BY p.organization_id ORDER BY p.id) AS place
    FROM gateway_prediction p LEFT JOIN running r USING (organization_id)
   WHERE p.status = 'queued' AND p.deadline_at > clock_now()
), chosen AS (
  SELECT p.id FROM gateway_prediction p JOIN waiting w USING (id)
   WHERE p.status = 'queued' AND w.place <= %(most)s
   ORDER BY w.place, p.id LIMIT %(room)s FOR UPDATE OF p SKIP LOCKED
)
UPDATE gateway_prediction p
   SET status = 'running', worker = %(worker)s, lease_ends_at = clock_now() + %(lease)s, started_at = clock_now()
  FROM chosen WHERE p.id = chosen.id RETURNING p.id
"""


@transaction.atomic
def claim_predictions(*, worker: UUID, room: int) -> list[Prediction]:
    """At most `room` of those that wait, for this process alone as long as it renews them."""
    if not Prediction.objects.filter(status=State.QUEUED).exists():
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
        facts: dict[str, Any] = {"room": room, "worker": worker, "lease": LEASE}
        facts["most"] = settings.PREDICTIONS_RUNNING_PER_ORGANIZATION
        cursor.execute(CLAIM, facts)
        ids = [id for (id,) in cursor.fetchall()]
    return list(Prediction.objects.filter(pk__in=ids).order_by("id"))


@transaction.atomic
def begin_prediction(*, id: UUID, worker: UUID) -> bool:
    """Write down that the upstream is about to be asked: from now on, whoever takes over must not ask again.

    False: it is not to be, since it was canceled or is another's by now, or whoever made it may call models no more.
    """
    prediction = _own(id, worker)
    if prediction is None:
        return False
    if prediction.cancel_asked_at is not None:
        _end_unsent(prediction, State.CANCELED, errors.PredictionCanceled())
        return False
    if (problem := _revoked(prediction)) is not None:
        _end_unsent(prediction, State.FAILED, problem)
        return False
    at = clock.now()
    prediction.contacted_at = at
    prediction.save(update_fields=["contacted_at"])
    tell_webhook(prediction, "started", at=at)
    return True


@transaction.atomic
def refuse_prediction(*, id: UUID, worker: UUID, problem: Problem) -> bool:
    """End one that cannot be sent. False: it is no longer this process's."""
    prediction = _own(id, worker)
    if prediction is not None:
        _end_unsent(prediction, State.FAILED, problem)
    return prediction is not None


def renew_predictions(*, ids: Sequence[UUID], worker: UUID) -> dict[UUID, bool]:
    """Keep them for this process. Returns those that are still its own, and of each whether it is to be canceled."""
    own = Prediction.objects.filter(pk__in=ids, worker=worker, status=State.RUNNING)
    own.update(lease_ends_at=ClockNow() + LEASE)
    return {id: asked_at is not None for id, asked_at in own.values_list("id", "cancel_asked_at")}


@transaction.atomic
def finish_prediction(*, id: UUID, worker: UUID, settle: Settle, output: bytes | None, problem: Problem | None) -> bool:
    """End it and settle its call, both or neither. False: it is no longer this process's, and nothing was written.

    output: JSON, of one that succeeded. problem: of one that did not.
    """
    prediction = _own(id, worker)
    if prediction is None:
        return False
    if move(settles=[settle]).unsettled:  # somebody ended the call by itself: what it would have delivered is not paid
        logger.error("prediction_without_call", extra={"prediction_id": prediction.public_id})
        output, problem = None, errors.GatewayStopped()
    else:
        prediction.cost_nano = min(settle.cost_nano, prediction.hold_nano)
    if output is not None:
        prediction.sealed_output = seal_content(prediction, "sealed_output", output)
    is_canceled = isinstance(problem, errors.PredictionCanceled)
    _end(prediction, State.SUCCEEDED if problem is None else State.CANCELED if is_canceled else State.FAILED, problem)
    return True


def release_predictions(*, ids: Sequence[UUID], worker: UUID) -> int:
    """Back in line with what this process has not begun. Returns how many."""
    own = Prediction.objects.filter(pk__in=ids, worker=worker, status=State.RUNNING, contacted_at=None)
    return _requeue(own)


# --- By its maker, and by the clock -----------------------------------------------------------------------------------


@transaction.atomic
def cancel_prediction(*, id: UUID) -> dict[str, Any]:
    """End it now if nothing was sent, else ask the process that makes it to hang up. Returns it as it is shown.

    Canceling again changes nothing. Raises PredictionEnded for one that ended otherwise.
    """
    prediction = _locked().get(pk=id)
    if prediction.status in (State.SUCCEEDED, State.FAILED):
        raise errors.PredictionEnded()
    if prediction.is_live and prediction.contacted_at is None:
        _end_unsent(prediction, State.CANCELED, errors.PredictionCanceled())
    elif prediction.is_live and prediction.cancel_asked_at is None:
        prediction.cancel_asked_at = clock.now()
        prediction.save(update_fields=["cancel_asked_at"])
        _say(f"cancel {id}")
    return document_of(_with_names(id))


def sweep_predictions() -> int:
    """End what waited for too long, and what was lost with its process. Returns how many rows changed.

    A lost one that had not been sent is put back in line. What may have reached the upstream is not sent again: it
    fails, and its call is left to the orphan rule, which looks for evidence of what was delivered.
    """
    changed = 0
    for id in Prediction.objects.late().values_list("id", flat=True)[:1000]:
        changed += _end_late(id)
    changed += _requeue(Prediction.objects.lost().filter(contacted_at=None))
    for id in Prediction.objects.lost().values_list("id", flat=True)[:1000]:
        changed += _end_lost(id)
    return changed


def prune_predictions() -> int:
    """Erase what has expired, and forget what expired long ago. Returns how many rows changed."""
    return erase_expired() + forget_expired_before(clock.now() - ROW_KEPT)


# --- Steps ------------------------------------------------------------------------------------------------------------


def _with_names(id: UUID) -> Prediction:
    return Prediction.objects.select_related("ai_model__publisher", "version").get(pk=id)


def _locked() -> Any:
    rows = Prediction.objects.select_related("ai_model__publisher", "version").defer("sealed_input")
    return rows.select_for_update(of=("self",))


def _own(id: UUID, worker: UUID) -> Prediction | None:
    """Locked, if this process still has it."""
    found: Prediction | None = _locked().filter(pk=id, worker=worker, status=State.RUNNING).first()
    return found


@transaction.atomic
def _end_late(id: UUID) -> bool:
    prediction = _locked().get(pk=id)
    if prediction.status != State.QUEUED:
        return False
    _end_unsent(prediction, State.FAILED, errors.PredictionLate())
    return True


@transaction.atomic
def _end_lost(id: UUID) -> bool:
    prediction = _locked().get(pk=id)
    if not Prediction.objects.lost().filter(pk=id).exclude(contacted_at=None).exists():
        return False
    if prediction.cancel_asked_at is not None:
        _end(prediction, State.CANCELED, errors.PredictionCanceled())
    else:
        _end(prediction, State.FAILED, errors.GatewayStopped())
    return True


def _requeue(rows: Any) -> int:
    changed: int = rows.update(status=State.QUEUED, worker=None, lease_ends_at=None, started_at=None)
    if changed:
        _say("queued")
    return changed


def _end_unsent(prediction: Prediction, status: str, problem: Problem) -> None:
    """The hold goes back: nothing was sent."""
    settle = Settle(
        id=prediction.id,
        rule=Rule.NOT_SENT,
        cost_nano=0,
        input_tokens=0,
        output_tokens=0,
        usage_source="",
        http_status=problem.status,
        error_code=problem.code,
        latency_ms=0,
        first_token_ms=None,
    )
    move(settles=[settle])
    prediction.cost_nano = 0
    _end(prediction, status, problem)


def _end(prediction: Prediction, status: str, problem: Problem | None) -> None:
    at = clock.now()
    prediction.status = status
    prediction.worker = prediction.lease_ends_at = None
    prediction.completed_at = at
    prediction.expires_at = at + timedelta(hours=settings.PREDICTION_HOURS)
    if problem is not None:
        prediction.error_code = problem.code
        prediction.sealed_error = seal_content(prediction, "sealed_error", error_bytes(prediction, problem))
    prediction.save(update_fields=ENDING)
    tell_webhook(prediction, "completed", at=at)
    _say(f"ended {prediction.id}")
    logger.info(
        "prediction",
        extra={
            "request_id": prediction.public_id.replace("pred_", "req_", 1),
            "status": status,
            "code": prediction.error_code,
            "cost_nano": prediction.cost_nano,
        },
    )


def _revoked(prediction: Prediction) -> Problem | None:
    """Why whoever made it may call models no more; None if they may. What a key has in line ends with the key."""
    key, at = prediction.api_key, clock.now()
    if key is None or prediction.user_id is None:
        return InvalidCredentials("The person or the organization that this key belongs to is no longer there.")
    if key.revoked_at is not None or key.is_expired(at):
        return KeyRevoked("The key was revoked, or expired, before the prediction began.")
    place = Membership.objects.filter(
        user=prediction.user_id,
        organization=prediction.organization_id,
        user__is_active=True,
        organization__closed_at=None,
    ).first()
    if place is None or "models:invoke" not in key.effective_scopes(place.role):
        return InvalidCredentials("The key does no longer cover calling models.")
    return None


def _say(what: str) -> None:
    """To every gateway process, when this transaction has committed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, what])
