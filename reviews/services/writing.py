"""What authors do with their reviews. Each step locks the model first, so that reviews of one model follow in line."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import Membership, Organization, User
from billing.models import UsageEvent
from common import clock
from common.problems import NotFound
from marketplace.models import AIModel, ModelVersion
from marketplace.services import hold_models
from observability.services import changes, record
from reviews.errors import AlreadyReviewed, NotAUser, NotYourReview, OwnModel, ReviewHidden
from reviews.models import Review
from reviews.services.mails import tell_publisher

COUNTED = 100_000  # a review says "so many or more" beyond this


@transaction.atomic
def post_review(
    *, ai_model: AIModel, author: User, organization: Organization, rating: int, content: str, title: str = ""
) -> Review:
    """The author's one review of a public model; its publisher is told by mail.

    organization: for whose calls it stands. Raises NotFound, OwnModel, AlreadyReviewed, NotAUser.
    """
    ai_model = _hold(ai_model.pk)
    require_outsider(ai_model=ai_model, user=author, organization=organization)
    known = Review.objects.of_model(ai_model).written_by(author).first()
    if known is not None:
        raise AlreadyReviewed(review_id=known.public_id)
    at = clock.now()
    review = Review(
        ai_model=ai_model,
        author=author,
        organization=organization,
        rating=rating,
        title=title,
        content=content,
        created_at=at,
        updated_at=at,
        **calls_of(ai_model=ai_model, organization=organization),
    )
    review.save(force_insert=True)
    record("review.posted", target=review, after=facts_of(review))
    tell_publisher(review)
    return review


@transaction.atomic
def edit_review(*, review: Review, by: User, rating: int, content: str, title: str = "") -> Review:
    """What its author says now; what they said before is kept. Calls and version are those of now.

    Raises NotYourReview, ReviewHidden, OwnModel.
    """
    review = _own(review, by)
    require_outsider(ai_model=review.ai_model, user=by, organization=review.organization)
    was = facts_of(review)
    if was == {"rating": rating, "title": title, "content": content}:
        return review
    at = clock.now()
    review.edits.create(
        rating=review.rating,
        title=review.title,
        content=review.content,
        written_at=review.updated_at,
        replaced_at=at,
    )
    review.rating, review.title, review.content, review.updated_at = rating, title, content, at
    calls, version_id = _count_calls(review.ai_model, review.organization)
    if calls >= review.verified_calls:  # fewer where usage of long ago is kept no more
        review.verified_calls, review.version_id = calls, version_id
    review.save(update_fields=["rating", "title", "content", "verified_calls", "version", "updated_at"])
    before, after = changes(was, facts_of(review))
    record("review.changed", target=review, before=before, after=after)
    return _shown(review.pk)


@transaction.atomic
def delete_review(*, review: Review, by: User) -> None:
    """Remove it and all that belongs to it. Raises NotYourReview, ReviewHidden: a hidden one cannot be begun anew."""
    review = _own(review, by)
    record("review.deleted", target=review, before=facts_of(review))
    review.delete()


def may_review(*, ai_model: AIModel, user: User, organization: Organization) -> dict[str, Any]:
    """`verified_calls` and `version_id` that a review would carry. Raises OwnModel, NotAUser."""
    require_outsider(ai_model=ai_model, user=user, organization=organization)
    return calls_of(ai_model=ai_model, organization=organization)


def require_outsider(*, ai_model: AIModel, user: User, organization: Organization | None = None) -> None:
    """Raises OwnModel for the publisher's own people, whomever they act for."""
    is_own = organization is not None and organization.pk == ai_model.publisher_id
    if is_own or Membership.objects.filter(organization=ai_model.publisher_id, user=user).exists():
        raise OwnModel()


def calls_of(*, ai_model: AIModel, organization: Organization) -> dict[str, Any]:
    """`verified_calls`, counted to `COUNTED`, and `version_id`, the last one called. Raises NotAUser."""
    calls, version_id = _count_calls(ai_model, organization)
    if calls < settings.REVIEW_MIN_CALLS:
        raise NotAUser(
            f"It needs {settings.REVIEW_MIN_CALLS:,} settled calls of this model; your organization has {calls:,}.",
            settled_calls=calls,
            needed_calls=settings.REVIEW_MIN_CALLS,
        )
    return {"verified_calls": calls, "version_id": version_id}


def facts_of(review: Review) -> dict[str, Any]:
    return {"rating": review.rating, "title": review.title, "content": review.content}


def _count_calls(ai_model: AIModel, organization: Organization) -> tuple[int, UUID | None]:
    used = UsageEvent.objects.of_customer(organization.pk, ai_model.pk)
    last = used.order_by("-id").values_list("version_id", flat=True).first()
    known = ModelVersion.objects.filter(pk=last, ai_model=ai_model).exists() if last is not None else False
    return used.order_by()[:COUNTED].count(), last if known else None


def _hold(ai_model_id: UUID) -> AIModel:
    hold_models(ai_model_id)
    found: AIModel | None = AIModel.objects.published().select_related("publisher").filter(pk=ai_model_id).first()
    if found is None:
        raise NotFound()
    return found


def hold_review(review: Review) -> Review:
    """The review as it is now; nobody else changes it, or another of its model, before this transaction has ended.

    Raises NotFound for one that is gone.
    """
    hold_models(review.ai_model_id)
    return _shown(review.pk)


def _shown(id: UUID) -> Review:
    found: Review | None = (
        Review.objects.detailed().select_related("ai_model__publisher", "organization").filter(pk=id).first()
    )
    if found is None:
        raise NotFound()
    return found


def _own(review: Review, by: User) -> Review:
    review = hold_review(review)
    if review.author_id != by.pk:
        raise NotYourReview()
    if review.hidden_at is not None:
        raise ReviewHidden()
    return review
