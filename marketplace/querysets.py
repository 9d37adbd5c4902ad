"""Reads of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Prefetch, Q

from common.clock import ClockNow

if TYPE_CHECKING:
    from accounts.models import Organization

#: The states in which everybody may see a model.
PUBLIC_STATUSES = ("published", "deprecated")


class AIModelQuerySet(models.QuerySet):
    def published(self) -> AIModelQuerySet:
        """What everybody may see: published models, deprecated ones too."""
        return self.filter(status__in=PUBLIC_STATUSES)

    def owned_by(self, organization: Organization) -> AIModelQuerySet:
        return self.filter(publisher=organization)

    def visible_to(self, organization: Organization | None) -> AIModelQuerySet:
        """Published models, and the organization's own in any state."""
        if organization is None:
            return self.published()
        return self.filter(Q(status__in=PUBLIC_STATUSES) | Q(publisher=organization))

    def detailed(self) -> AIModelQuerySet:
        """With everything that the API and the pages show of a model, in a fixed number of queries."""
        prices = Prefetch("prices", self.model.prices.rel.related_model.objects.in_force(), to_attr="prices_in_force")
        return self.select_related("publisher", "current_version").prefetch_related(prices)


class PriceQuerySet(models.QuerySet):
    def in_force(self) -> PriceQuerySet:
        """The prices that have come into effect, newest first: the first one of each model is in force."""
        return self.filter(effective_from__lte=ClockNow()).order_by("-effective_from", "-id")
