"""Contract checks as rows: asked for, taken by a worker, told to the catalogue and to the publisher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q

from common import clock
from common.outbound import Door
from common.problems import RateLimited
from common.sealing import SealError
from common.wake import wake
from gateway.errors import NoEndpoint
from gateway.models import ContractCheck, Endpoint
from gateway.services.check_words import TITLES
from gateway.services.contract import STREAMED_KINDS, Step, Subject, kind_of
from gateway.services.endpoints import target_of_row
from gateway.services.probes import WHOLE_SECONDS, check_contract
from marketplace.models import AIModel, ModelVersion, Price
from marketplace.services import hold_models, record_check
from marketplace.services.forms import example_of_schema
from marketplace.services.schemas import validator_for, violations
from observability.services import record

EVERY = timedelta(hours=24)
AGAIN_AFTER_FAILURE = timedelta(hours=1)  # so that a single bad moment is told from an endpoint that is broken
LEFT_BEHIND = timedelta(seconds=2 * WHOLE_SECONDS)
MOST_PER_HOUR = 20  # of an endpoint, when people ask: each is some twenty requests to an address that they gave
KEPT = 30  # runs of an endpoint
BATCH = 20  # of one sweep

Status = ContractCheck.Status


@transaction.atomic
def ask_check(*, ai_model: AIModel, reason: str = ContractCheck.Reason.ASKED) -> ContractCheck:
    """A run that a worker takes at once; the one under way if there is one. Raises NoEndpoint, RateLimited."""
    hold_models(ai_model.pk)
    endpoint = Endpoint.objects.of_model(ai_model.pk).first()
    if endpoint is None:
        raise NoEndpoint()
    found: ContractCheck | None = endpoint.checks.live().first()
    if found is not None:
        return found
    at = clock.now()
    asked = endpoint.checks.filter(created_at__gt=at - timedelta(hours=1)).order_by("created_at")
    if reason == ContractCheck.Reason.ASKED and len(recent := list(asked)) >= MOST_PER_HOUR:
        wait = recent[0].created_at + timedelta(hours=1) - at
        raise RateLimited("This endpoint was checked often enough this hour.", retry_after_seconds=wait.seconds + 1)
    try:
        with transaction.atomic():
            made: ContractCheck = endpoint.checks.create(reason=reason, created_at=at)
    except IntegrityError:  # somebody was faster
        other: ContractCheck = endpoint.checks.live().get()
        return other
    record("model.check_asked", target=ai_model, organization_id=ai_model.publisher_id, after={"check": made.public_id})
    wake(run_checks)
    return made


def latest_check(ai_model_id: UUID) -> ContractCheck | None:
    """The last run of the endpoint that the model's calls go to now."""
    endpoint = Endpoint.objects.of_model(ai_model_id).first()
    return None if endpoint is None else endpoint.checks.order_by("-id").first()


def schedule_checks() -> int:
    """Ask for the runs that are due: of public models each day, and within the hour after one that failed.

    Returns how many. Repeating it is harmless: what is live or recent is not due.
    """
    at = clock.now()
    listed = AIModel.objects.published().filter(is_callable=True)
    endpoints = Endpoint.objects.in_force().filter(version__ai_model__in=listed)
    recent = ContractCheck.objects.filter(endpoint=OuterRef("pk")).filter(
        Q(ended_at=None) | Q(ended_at__gt=at - EVERY, status="passed") | Q(ended_at__gt=at - AGAIN_AFTER_FAILURE)
    )
    due = Endpoint.objects.filter(pk__in=endpoints.values("pk")).filter(~Exists(recent))
    asked = 0
    for endpoint in due.select_related("version__ai_model").order_by("pk")[:BATCH]:
        ask_check(ai_model=endpoint.version.ai_model, reason=ContractCheck.Reason.SCHEDULE)
        asked += 1
    return asked


def run_checks(*, limit: int = BATCH) -> int:
    """Run what waits, one after the other. Returns how many were run. No transaction is open while one runs."""
    done = 0
    while done < limit and (check := _claim()) is not None:
        _run(check)
        done += 1
    return done


def subject_of(endpoint: Endpoint) -> Subject:
    """What a check of this endpoint asks: an example of the schema's own, at the price in force. Raises SealError."""
    version = ModelVersion.objects.select_related("ai_model__publisher").get(
        pk=endpoint.version.ai_model.current_version_id or endpoint.version_id
    )
    ai_model = version.ai_model
    row = {name: getattr(endpoint, name) for name in _COLUMNS} | {"endpoint_id": endpoint.pk}
    for name in ("sealed_secret", "sealed_signing_key"):
        row[name] = None if row[name] is None else bytes(row[name])
    validator = validator_for(version.pk, "output", version.output_schema)
    kind = kind_of(endpoint.protocol, version.input_schema)
    price: Price | None = ai_model.price
    per_token = price is not None and bool(price.input_nano_per_million or price.output_nano_per_million)
    sample = example_of_schema(version.input_schema)
    return Subject(
        target=target_of_row(row),
        slug=f"{ai_model.publisher.slug}/{ai_model.slug}",
        kind=kind,
        sample=sample if isinstance(sample, dict) else {},
        faults_of=lambda output, _size: violations(validator, output),
        needs_usage=per_token or kind in STREAMED_KINDS,
    )


_COLUMNS = (
    *("url", "protocol", "upstream_model", "auth_header", "sealed_secret", "sealed_signing_key"),
    *("timeout_seconds", "max_cost_nano"),
)


@transaction.atomic(durable=True)
def _claim() -> ContractCheck | None:
    at = clock.now()
    waiting = ContractCheck.objects.waiting(at - LEFT_BEHIND).select_related("endpoint__version__ai_model")
    found: ContractCheck | None = waiting.select_for_update(of=("self",), skip_locked=True).first()
    if found is not None:
        found.status, found.started_at, found.steps = Status.RUNNING, at, []
        found.save(update_fields=["status", "started_at", "steps"])
    return found


def _run(check: ContractCheck) -> None:
    try:
        subject = subject_of(check.endpoint)
    except SealError:
        _end(check, [Step("reach", "failed", "no_answer", {"reason": "The endpoint's secret cannot be opened."})])
        return
    steps: list[Step] = []
    with asyncio.Runner() as runner:
        door = Door()
        taken = check_contract(subject, door)
        try:
            while (step := runner.run(_next(taken))) is not None:
                steps.append(step)  # between two steps no loop is running, so that the row can say how far it is
                mine = ContractCheck.objects.filter(pk=check.pk, started_at=check.started_at)
                mine.update(steps=[one.document for one in steps])
        finally:
            runner.run(door.close())
    _end(check, steps)


async def _next(taken: AsyncGenerator[Step]) -> Step | None:
    return await anext(taken, None)


@transaction.atomic
def _end(check: ContractCheck, steps: list[Step]) -> None:
    """Tell the catalogue, unless somebody else took the run over or the endpoint was changed meanwhile."""
    at = clock.now()
    hold_models(check.endpoint.version.ai_model_id)
    passed = all(step.outcome != "failed" for step in steps)
    ended = ContractCheck.objects.filter(pk=check.pk, status=Status.RUNNING, started_at=check.started_at).update(
        status=Status.PASSED if passed else Status.FAILED, steps=[step.document for step in steps], ended_at=at
    )
    if not ended:
        return
    endpoint: Endpoint = check.endpoint
    in_force = Endpoint.objects.of_model(endpoint.version.ai_model_id).first()
    if in_force is None or in_force.pk != endpoint.pk or in_force.updated_at > (check.started_at or at):
        return
    last = list(endpoint.checks.filter(ended_at__isnull=False).order_by("-id").values_list("status", flat=True)[:2])
    record_check(
        ai_model_id=endpoint.version.ai_model_id,
        passed=passed,
        is_repeated=last == [Status.FAILED, Status.FAILED],
        failed_steps=[str(TITLES[step.name]) for step in steps if step.outcome == "failed"],
        at=at,
    )
    kept = endpoint.checks.order_by("-id").values("pk")[:KEPT]
    endpoint.checks.filter(ended_at__isnull=False).exclude(pk__in=list(kept.values_list("pk", flat=True))).delete()
