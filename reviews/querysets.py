"""Reads of reviews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from uuid import UUID

    from accounts.models import Organization, User
    from marketplace.models import AIModel


class ReviewQuerySet(models.QuerySet):
    def visible(self) -> ReviewQuerySet:
        """What everybody reads, and what counts."""
        return self.filter(hidden_at=None)

    def visible_to(self, user: User | None, *, sees_all: bool = False) -> ReviewQuerySet:
        """What everybody reads, and the person's own."""
        if sees_all:
            return self.all()
        return self.visible() if user is None else self.filter(Q(hidden_at=None) | Q(author=user))

    def of_model(self, ai_model: AIModel | UUID) -> ReviewQuerySet:
        return self.filter(ai_model=ai_model)

    def written_by(self, user: User) -> ReviewQuerySet:
        return self.filter(author=user)

    def of_publisher(self, organization: Organization) -> ReviewQuerySet:
        return self.filter(ai_model__publisher=organization)

    def detailed(self) -> ReviewQuerySet:
        """With everything that the API and the pages show of a review, in one query."""
        return self.select_related("author", "version", "reply")


class ReportQuerySet(models.QuerySet):
    def open(self) -> ReportQuerySet:
        """Those that nobody has decided on."""
        return self.filter(decision="")

    def about_same(self, report: Any) -> ReportQuerySet:
        """All about the review, or the model, that this one is about."""
        return self.filter(review=report.review_id, ai_model=report.ai_model_id)
