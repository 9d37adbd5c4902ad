"""Lets go of what the catalogue keeps in Redis, the moment a change of it is committed.

Whoever changes a listing, a price or a measured figure through the ORM need not think of it: Django's signals and that
of `AIModelQuerySet.update` say so. SQL of one's own calls `forget`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from accounts.models import Organization
from marketplace.models import AIModel, Measurement, ModelVersion, Price
from marketplace.querysets import LISTED, updated
from marketplace.search.kept import LISTS, SHELF

MAX_TAGS = 1_000  # more are not told one by one


def tag_of(ai_model_id: UUID) -> str:
    """Under which what is shown of a model is kept."""
    return f"model:{ai_model_id.hex}"


def forget(ai_model_ids: Iterable[UUID] = (), *, lists: bool = True) -> None:
    """Let go of what is shown of these models, and of all lists, once the change is committed."""
    tags = [tag_of(id) for id in ai_model_ids]
    if len(tags) > MAX_TAGS:
        transaction.on_commit(SHELF.forget_all, robust=True)
    elif tags or lists:
        transaction.on_commit(partial(SHELF.forget, [*tags, *([LISTS] if lists else [])]), robust=True)


@receiver(updated, sender=AIModel, dispatch_uid="forgetting.updated")
def note_update(ids: Collection[UUID], fields: Collection[str], **_facts: Any) -> None:
    forget(ids, lists=not LISTED.isdisjoint(fields))


@receiver(post_save, sender=AIModel, dispatch_uid="forgetting.saved")
def note_model(instance: AIModel, update_fields: Collection[str] | None, **_facts: Any) -> None:
    forget([instance.pk], lists=update_fields is None or not LISTED.isdisjoint(update_fields))


@receiver(post_delete, sender=AIModel, dispatch_uid="forgetting.deleted")
def note_deletion(instance: AIModel, **_facts: Any) -> None:
    forget([instance.pk])


@receiver([post_save, post_delete], sender=Price, dispatch_uid="forgetting.price")
def note_price(instance: Price, **_facts: Any) -> None:
    forget([instance.ai_model_id])


@receiver([post_save, post_delete], sender=Measurement, dispatch_uid="forgetting.measurement")
@receiver([post_save, post_delete], sender=ModelVersion, dispatch_uid="forgetting.version")
def note_part(instance: Measurement | ModelVersion, **_facts: Any) -> None:
    forget([instance.ai_model_id], lists=False)


@receiver(post_save, sender=Organization, dispatch_uid="forgetting.organization")
def note_publisher(created: bool, update_fields: Collection[str] | None, **_facts: Any) -> None:
    """Its name stands on each of its models, and its slug in their addresses."""
    if not created and (update_fields is None or not {"name", "slug"}.isdisjoint(update_fields)):
        transaction.on_commit(SHELF.forget_all, robust=True)
