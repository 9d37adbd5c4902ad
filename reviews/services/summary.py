"""What the reviews of a model, or of a publisher, add up to."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from accounts.models import Organization
from marketplace.models import RATING_PRIOR_COUNT, RATING_PRIOR_SUM, AIModel
from reviews.models import STARS, RatingSummary

MIN_REPLIES = 3  # fewer say nothing of how long a publisher takes

FIRST_REPLY = """
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM p.created_at - r.created_at))
  FROM reviews_review r
  JOIN marketplace_aimodel m ON m.id = r.ai_model_id
  JOIN reviews_reply p ON p.review_id = r.id
 WHERE m.publisher_id = %s AND r.hidden_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """stars: how many reviews give one star, two, and so on to five."""

    stars: tuple[int, ...]

    @property
    def count(self) -> int:
        return sum(self.stars)

    @property
    def total(self) -> int:
        """All stars together."""
        return sum(number * count for number, count in enumerate(self.stars, 1))

    @property
    def mean(self) -> float | None:
        """None without reviews."""
        return round(self.total / self.count, 2) if self.count else None

    @property
    def bayesian_mean(self) -> float:
        """What search orders by: as if ten more reviews of 3.5 on average had been written."""
        return round((self.total + RATING_PRIOR_SUM) / (self.count + RATING_PRIOR_COUNT), 2)


def summary_of(ai_model: AIModel) -> Summary:
    found = RatingSummary.objects.filter(pk=ai_model.pk).values_list("stars", flat=True).first()
    return Summary(tuple(found or [0] * STARS))


def first_reply_seconds(publisher: Organization) -> float | None:
    """The median time from a review of its models to the publisher's reply; None for fewer than `MIN_REPLIES`."""
    with connection.cursor() as cursor:
        cursor.execute(FIRST_REPLY, [publisher.pk])
        count, median = cursor.fetchone()
    return float(median) if count >= MIN_REPLIES else None
