"""The end of a version, announced to those who are pinned to it."""

from __future__ import annotations

from datetime import UTC, date

from django.db import transaction

from common import clock
from common.problems import FieldError, NotFound, ValidationFailed
from marketplace.models import AIModel, ModelVersion
from observability.services import record


def today() -> date:
    """In UTC, as the days of all sunsets are."""
    return clock.now().astimezone(UTC).date()


def must_be_to_come(day: date | None) -> None:
    """Raises ValidationFailed for the day of a sunset that has come."""
    if day is not None and day <= today():
        raise _fault("/sunset_on", "not_in_future", "The day from which it may be gone is still to come.")


@transaction.atomic
def set_version_sunset(*, ai_model: AIModel, version: str, sunset_on: date | None) -> ModelVersion:
    """Say from which day (UTC) on an older version may be gone; None takes that back. The gateway mails the pinned.

    From that day on nobody can be pinned to it anew. The current version ends with its model: see `deprecate`.
    Raises NotFound, and ValidationFailed for the current or an unpublished version or a day that has come.
    """
    must_be_to_come(sunset_on)
    held = AIModel.objects.select_for_update(no_key=True).filter(pk=ai_model.pk)
    current_id = held.values_list("current_version", flat=True).get()
    found: ModelVersion | None = ai_model.versions.select_for_update().filter(version=version).first()
    if found is None:
        raise NotFound()
    if found.pk == current_id:
        detail = "The current version ends with the model: add a newer one first, or deprecate the model."
        raise _fault("/version", "is_current", detail)
    if found.published_at is None:
        raise _fault("/version", "not_published", "Nobody relies on a version that was never published.")
    if found.sunset_on == sunset_on:
        return found
    was, found.sunset_on = found.sunset_on, sunset_on
    found.sunset_announced_at = None if sunset_on is None else clock.now()
    found.save(update_fields=["sunset_on", "sunset_announced_at"])
    record(
        "model.version_sunset_set",
        target=found,
        organization_id=ai_model.publisher_id,
        before={"version": version, "sunset_on": was and was.isoformat()},
        after={"version": version, "sunset_on": sunset_on and sunset_on.isoformat()},
    )
    return found


def _fault(pointer: str, code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(errors=[FieldError(pointer=pointer, code=code, detail=detail)])
