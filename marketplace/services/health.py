"""What the gateway's contract checks say about a listing, and whom that is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from marketplace.models import AIModel
from marketplace.services.mails import tell_publisher


@transaction.atomic
def record_check(
    *, ai_model_id: UUID, passed: bool, is_repeated: bool, failed_steps: Sequence[str], at: datetime
) -> None:
    """Told by the gateway: how a check of the model's endpoint ended.

    is_repeated: it failed, as the one before did. Then a public model is degraded from now on, and its publisher hears
    of it once; and once more when it has recovered, which takes one check that passes.
    """
    models = AIModel.objects.filter(pk=ai_model_id)
    models.filter(Q(checked_at=None) | Q(checked_at__lte=at)).update(checked_at=at, check_passed=passed)
    if passed:
        if models.filter(degraded_at__isnull=False).update(degraded_at=None):
            _tell(ai_model_id, "recovered", at, [])
    elif is_repeated and models.published().filter(degraded_at=None).update(degraded_at=at):
        _tell(ai_model_id, "degraded", at, failed_steps)


def forget_check(*, ai_model_id: UUID) -> None:
    """Told by the gateway: the endpoint is another one, of which nothing is known. A degraded model stays so."""
    AIModel.objects.filter(pk=ai_model_id).update(checked_at=None, check_passed=None)


def _tell(ai_model_id: UUID, kind: str, at: datetime, failed_steps: Sequence[str]) -> None:
    ai_model = AIModel.objects.select_related("publisher").get(pk=ai_model_id)
    tell_publisher(ai_model=ai_model, kind=kind, once=at.isoformat(), failed_steps=list(failed_steps))
