"""What people want to find again. It is theirs, whichever organization they act for, and nobody else learns of it."""

from __future__ import annotations

from django.db import transaction

from accounts.models import User
from marketplace.errors import TooManySaved
from marketplace.models import AIModel, SavedModel

MAX_SAVED = 1_000


@transaction.atomic
def save_model(*, ai_model: AIModel, user: User) -> None:
    """Repeating it changes nothing. Raises TooManySaved."""
    mine = SavedModel.objects.filter(user=user)
    if mine.filter(ai_model=ai_model).exists():
        return
    if mine.count() >= MAX_SAVED:
        raise TooManySaved(f"You saved {MAX_SAVED:,} models.")
    SavedModel.objects.get_or_create(user=user, ai_model=ai_model)


def unsave_model(*, ai_model: AIModel, user: User) -> None:
    """Repeating it changes nothing."""
    SavedModel.objects.filter(user=user, ai_model=ai_model).delete()


def is_saved(*, ai_model: AIModel, user: User | None) -> bool:
    return user is not None and SavedModel.objects.filter(user=user, ai_model=ai_model).exists()
