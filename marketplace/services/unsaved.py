"""What is typed into the steps of publishing and not saved: kept as it was typed, and shown to whoever returns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms

from accounts.models import Organization, User
from common import clock
from marketplace.models import AIModel, UnsavedStep

Step = UnsavedStep.Step
WITH_PASSWORD = re.compile(r"\s*[a-z]+:/*[^/\s]*@", re.IGNORECASE)  # https://user:password@host
MAX_KEPT = 700_000  # characters of all fields of a step: two schemas of the largest size fit


def keep_step(
    *,
    step: str,
    form: forms.Form,
    organization: Organization,
    ai_model: AIModel | None = None,
    user: User | None = None,
) -> bool:
    """Keep what was sent in a form, but for secrets. user: whose next listing it is about, where there is none yet.

    Returns False for more than is kept.
    """
    values = _typed(form)
    if sum(map(len, values.values())) > MAX_KEPT:
        return False
    of: dict[str, Any] = {
        "organization": organization,
        "ai_model": ai_model,
        "user": user if ai_model is None else None,
        "step": step,
    }
    UnsavedStep.objects.update_or_create(**of, defaults={"values": values, "updated_at": clock.now()})
    return True


def kept_step(
    *, step: str, organization: Organization, ai_model: AIModel | None = None, user: User | None = None
) -> UnsavedStep | None:
    """What `keep_step` kept; None where there is nothing unsaved."""
    rows = UnsavedStep.objects.filter(organization=organization, ai_model=ai_model, step=step)
    return rows.first() if ai_model is not None else rows.filter(user=user).first()


def forget_step(*, kept: UnsavedStep | None) -> None:
    """After it was saved, or was not wanted."""
    if kept is not None:
        kept.delete()


def shown_values(initial: Mapping[str, Any], kept: UnsavedStep | None) -> dict[str, Any]:
    """What a step shows at first: what is saved, and over it what was typed."""
    return {**initial, **(kept.values if kept is not None else {})}


def _typed(form: forms.Form) -> dict[str, str]:
    """Field -> text, of all that is no secret; what a box that is not ticked says is empty."""
    found = {}
    for name, field in form.fields.items():
        text = form.data.get(form.add_prefix(name), "").replace("\0", "")
        if not isinstance(field.widget, forms.PasswordInput) and not WITH_PASSWORD.match(text):
            found[name] = text
    return found
