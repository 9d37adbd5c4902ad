"""What others do with a review: the publisher replies, readers say that it helped."""

from __future__ import annotations

from django.db import transaction

from accounts.models import Organization, User
from common import clock
from common.problems import NotFound
from marketplace.services import require_publisher
from observability.services import record
from reviews.errors import OwnReview, ReviewHidden
from reviews.models import Reply, Review
from reviews.services.mails import tell_author
from reviews.services.writing import hold_review, require_outsider


@transaction.atomic
def reply(*, review: Review, organization: Organization, by: User, content: str) -> Review:
    """The publisher's one reply, or what it says from now on. The author is told by mail of the first.

    Raises NotYourModel, ReviewHidden.
    """
    review = _held(review)
    require_publisher(ai_model=review.ai_model, organization=organization)
    at, known = clock.now(), review.answer
    if known is None:
        review.reply = Reply.objects.create(review=review, author=by, content=content, created_at=at, updated_at=at)
        record("review.replied", target=review, after={"reply": content})
        tell_author(review, "review_replied", once="", publisher=review.ai_model.publisher.name, content=content)
    elif known.content != content:
        before, known.content, known.author, known.updated_at = known.content, content, by, at
        known.save(update_fields=["content", "author", "updated_at"])
        record("review.replied", target=review, before={"reply": before}, after={"reply": content})
    return review


@transaction.atomic
def delete_reply(*, review: Review, organization: Organization) -> None:
    """Take the reply back; repeating it is harmless. Raises NotYourModel, ReviewHidden."""
    review = _held(review)
    require_publisher(ai_model=review.ai_model, organization=organization)
    if review.answer is not None:
        record("review.reply_deleted", target=review, before={"reply": review.answer.content})
        review.answer.delete()


@transaction.atomic
def set_helpful(*, review: Review, by: User, is_helpful: bool) -> Review:
    """Say that it helped, or take that back; repeating it changes nothing. Raises OwnReview, OwnModel, ReviewHidden."""
    review = _held(review)
    if review.author_id == by.pk:
        raise OwnReview()
    if is_helpful:
        require_outsider(ai_model=review.ai_model, user=by)
        review.votes.get_or_create(user=by)
    else:
        review.votes.filter(user=by).delete()
    review.refresh_from_db(fields=["helpful_count"])
    return review


def _held(review: Review) -> Review:
    review = hold_review(review)
    if not review.ai_model.is_public:
        raise NotFound()
    if review.hidden_at is not None:
        raise ReviewHidden()
    return review
