"""An organization's own names for models: pinned to a version, limited, with a fallback."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts import services as accounts
from accounts.models import Budget, Organization
from common.clock import now
from common.problems import FieldError, NotFound, ValidationFailed
from common.spending import SpendLimit
from gateway.models import Deployment, Endpoint
from marketplace.models import AIModel, ModelVersion
from marketplace.services import apply_deployments, hold_models, today
from observability.services import changes as changes_between
from observability.services import record

NAME = re.compile(r"[a-z0-9](-?[a-z0-9])*", re.ASCII)
MAX_NAME_LENGTH = 60


@transaction.atomic
def create_deployment(
    *,
    organization: Organization,
    name: str,
    ai_model_id: UUID,
    version: str | None = None,
    status: str = Deployment.Status.ACTIVE,
    rate_limit: int | None = None,
    spend_limit: SpendLimit | None = None,
    fallback_id: UUID | None = None,
) -> Deployment:
    """Give a model that the organization may see a name of its own, unique among its live ones.

    version: `1.4.2`; None: always the current one. rate_limit: calls a minute. Raises ValidationFailed.
    """
    hold_models(ai_model_id, fallback_id)
    deployment = Deployment(organization=organization, ai_model_id=ai_model_id, status=status, rate_limit=rate_limit)
    _set(deployment, {"name": name, "ai_model_id": ai_model_id, "version": version, "fallback_id": fallback_id})
    _save(deployment, force_insert=True)
    if spend_limit is not None:
        _limit_spending(deployment, spend_limit)
    apply_deployments(ai_model_id=ai_model_id, change=1)
    _record("deployment.created", deployment, after=_facts(deployment))
    deployment.refresh_from_db(fields=["created_at"])
    return deployment


@transaction.atomic
def change_deployment(*, deployment: Deployment, changes: Mapping[str, Any]) -> Deployment:
    """Change what `changes` names: the arguments of `create_deployment` without the model; None takes a limit, the
    pinned version or the fallback away. In force within a second. Raises ValidationFailed, NotFound (deleted)."""
    hold_models(changes.get("fallback_id"))
    deployment = _lock(deployment)
    was = _facts(deployment)
    wanted = dict(changes)
    if "spend_limit" in wanted:
        _limit_spending(deployment, wanted.pop("spend_limit"))
    _set(deployment, wanted)
    _save(deployment)
    before, after = changes_between(was, _facts(deployment))
    if after:
        _record("deployment.changed", deployment, before=before, after=after)
    return deployment


@transaction.atomic
def delete_deployment(*, deployment: Deployment) -> None:
    """Calls by its name are refused within a second, and the name is free. Raises NotFound when it was deleted."""
    hold_models(deployment.ai_model_id)
    deployment = _lock(deployment)
    was = _facts(deployment)
    _limit_spending(deployment, None)
    deployment.deleted_at = now()
    deployment.save(update_fields=["deleted_at", "updated_at"])
    apply_deployments(ai_model_id=deployment.ai_model_id, change=-1)
    _record("deployment.deleted", deployment, before=was)


def spend_limits_of(deployments: Iterable[Deployment]) -> dict[UUID, Budget]:
    """The own limit, in its present window, of each that has one; by deployment."""
    return accounts.spend_limits_of([deployment.pk for deployment in deployments])


# --- Steps ------------------------------------------------------------------------------------------------------------


def _lock(deployment: Deployment) -> Deployment:
    rows = Deployment.objects.live().select_related("organization", "version", "ai_model", "fallback")
    found: Deployment | None = rows.select_for_update(of=("self",)).filter(pk=deployment.pk).first()
    if found is None:
        raise NotFound()
    return found


def _set(deployment: Deployment, wanted: Mapping[str, Any]) -> None:
    """Check the values and put them on the row. Raises ValidationFailed with every fault at once."""
    faults: list[FieldError] = []
    given = dict(wanted)
    if "name" in given and not (len(given["name"]) <= MAX_NAME_LENGTH and NAME.fullmatch(given["name"])):
        detail = f"At most {MAX_NAME_LENGTH} of a–z, 0–9 and single hyphens between them."
        faults.append({"pointer": "/name", "code": "invalid", "detail": detail})
    if "ai_model_id" in given:
        _find_model(deployment, given["ai_model_id"], "/model_id", faults)
    if given.get("fallback_id") is not None:
        _check_fallback(deployment, given["fallback_id"], faults)
    if (number := given.pop("version", None)) is not None:
        given["version"] = _find_version(deployment, number, faults)
    elif "version" in wanted:
        given["version"] = None
    if faults:
        raise ValidationFailed(errors=faults)
    for name, value in given.items():
        setattr(deployment, name, value)


def _find_model(deployment: Deployment, id: UUID, pointer: str, faults: list[FieldError]) -> AIModel | None:
    found: AIModel | None = AIModel.objects.visible_to(deployment.organization).filter(pk=id).first()
    if found is None:
        detail = "There is no such model, or you may not see it."
        faults.append({"pointer": pointer, "code": "unknown_model", "detail": detail})
    return found


def _find_version(deployment: Deployment, number: str, faults: list[FieldError]) -> ModelVersion | None:
    versions = ModelVersion.objects.visible_to(deployment.organization)
    found: ModelVersion | None = versions.filter(ai_model=deployment.ai_model_id, version=number).first()
    if found is None:
        detail = "The model has no such version that you may call."
        faults.append({"pointer": "/version", "code": "unknown_version", "detail": detail})
    elif found.is_over(today()) and found.pk != deployment.version_id:
        detail = f"Its publisher ended this version on {found.sunset_on}. Choose another one."
        faults.append({"pointer": "/version", "code": "version_over", "detail": detail})
    return found


def _check_fallback(deployment: Deployment, id: UUID, faults: list[FieldError]) -> None:
    """It must be another model, and be called in the same way: what the one is sent, the other is sent instead."""
    detail = ""
    if id == deployment.ai_model_id:
        detail = "A model is no fallback for itself."
    elif _find_model(deployment, id, "/fallback_model_id", faults) is not None:
        first, second = (Endpoint.objects.of_model(one).first() for one in (deployment.ai_model_id, id))
        if first is not None and second is not None and first.protocol != second.protocol:
            detail = "The two models are not called in the same way."
    if detail:
        faults.append({"pointer": "/fallback_model_id", "code": "unfit", "detail": detail})


def _save(deployment: Deployment, **options: Any) -> None:
    try:
        with transaction.atomic():
            deployment.save(**options)
    except IntegrityError:
        others = Deployment.objects.live().filter(organization=deployment.organization_id, name=deployment.name)
        if not others.exclude(pk=deployment.pk).exists():
            raise
        fault = FieldError(pointer="/name", code="taken", detail="Another deployment has this name.")
        raise ValidationFailed(errors=[fault]) from None


def _limit_spending(deployment: Deployment, limit: SpendLimit | None) -> None:
    accounts.set_spend_limit(
        subject_kind=Budget.SubjectKind.DEPLOYMENT,
        subject_id=deployment.pk,
        limit_nano=None if limit is None else limit.limit_nano,
        window=Budget.Window.MONTH if limit is None else limit.window,
        time_zone=deployment.organization.time_zone,
    )


def _facts(deployment: Deployment) -> dict[str, Any]:
    """What an event says of a deployment."""
    limit = spend_limits_of([deployment]).get(deployment.pk)
    return {
        "name": deployment.name,
        "model": _slug_of(deployment.ai_model),
        "version": deployment.version and deployment.version.version,
        "status": deployment.status,
        "fallback": deployment.fallback and _slug_of(deployment.fallback),
        "rate_limit": deployment.rate_limit,
        "spend_limit_nano": limit.limit if limit else None,
        "spend_window": limit.window if limit else None,
    }


def _slug_of(ai_model: AIModel) -> str:
    return f"{ai_model.publisher.slug}/{ai_model.slug}"


def _record(action: str, deployment: Deployment, **states: Any) -> None:
    record(action, target=deployment, organization_id=deployment.organization_id, **states)
