"""How a listing looks in lists."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from marketplace.models import AIModel


@transaction.atomic
def record_logo(*, ai_model_id: UUID, logo: UUID | None) -> None:
    """Told by media: the file that is the listing's picture from now on, or that there is none."""
    AIModel.objects.filter(pk=ai_model_id).update(logo=logo)
