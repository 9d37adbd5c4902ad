"""Mails about reviews: to the publisher's people, and to who wrote one. The words are `templates/reviews/emails/`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse

from accounts.models import Membership, User, roles_with
from notifications.services import notify
from reviews.models import Review


def tell_publisher(review: Review) -> None:
    """Everybody who may change the listing that somebody reviewed it; once for each review."""
    roles = roles_with("models.publish")
    people = Membership.objects.filter(organization=review.ai_model.publisher_id, role__in=roles).values("user")
    for user in User.objects.filter(pk__in=people, is_active=True):
        _tell(user, review, "review_posted", once="", rating=review.rating, content=review.content)


def tell_author(review: Review, kind: str, *, once: str, **facts: Any) -> None:
    """once: of the same kind and `once`, they get no two."""
    if review.author.is_active:
        _tell(review.author, review, kind, once=once, **facts)


def _tell(user: User, review: Review, kind: str, *, once: str, **facts: Any) -> None:
    ai_model = review.ai_model
    page = reverse("reviews", args=[ai_model.publisher.slug, ai_model.slug])
    payload = {
        "name": user.name,
        "model": ai_model.name,
        "slug": f"{ai_model.publisher.slug}/{ai_model.slug}",
        "url": f"{settings.SITE_URL}{page}",
        **facts,
    }
    notify(
        to=user.email,
        kind=f"reviews.{kind}",
        payload=payload,
        recipient=user,
        dedupe_key=f"{kind}:{review.pk}:{user.pk}:{once}",
    )
