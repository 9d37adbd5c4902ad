"""Mails about listings: to the people who may publish for the organization, or to those who rely on a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.urls import reverse

from accounts.models import Membership, User, roles_with
from marketplace.models import AIModel
from notifications.services import notify


def tell_publisher(*, ai_model: AIModel, kind: str, once: str, **facts: Any) -> None:
    """To everybody who may change the listing. `once`: of the same kind and `once`, nobody gets two."""
    people = Membership.objects.filter(organization=ai_model.publisher_id, role__in=roles_with("models.publish"))
    tell(
        people=User.objects.filter(pk__in=people.values("user"), is_active=True),
        ai_model=ai_model,
        kind=kind,
        once=once,
        **facts,
    )


def tell(*, people: Iterable[User], ai_model: AIModel, kind: str, once: str, **facts: Any) -> None:
    """The words are `templates/marketplace/emails/<kind>.*`."""
    page = reverse("model", args=[ai_model.publisher.slug, ai_model.slug])
    for user in people:
        payload = {
            "name": user.name,
            "model": ai_model.name,
            "slug": f"{ai_model.publisher.slug}/{ai_model.slug}",
            "url": f"{settings.SITE_URL}{page}",
            **facts,
        }
        notify(
            to=user.email,
            kind=f"marketplace.{kind}",
            payload=payload,
            recipient=user,
            dedupe_key=f"{kind}:{ai_model.pk}:{user.pk}:{once}",
        )
