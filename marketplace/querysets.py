"""Reads of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import models
from django.db.models import Count, Exists, F, Min, OuterRef, Prefetch, Q, Subquery, Sum

from common.clock import ClockNow
from common.ids import decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from accounts.models import Organization
    from marketplace.models import AIModel

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

    def referred_to(self, ref: str) -> AIModelQuerySet:
        """The model of this id (`mdl_…`) or name (`publisher:slug`, `publisher/slug`); none for anything else."""
        try:
            return self.filter(pk=decode("mdl", ref))
        except ValueError:
            publisher, _, slug = ref.replace("/", ":", 1).partition(":")
            return self.filter(publisher__slug=publisher, slug=slug)

    def by_task(self) -> Any:
        """A dictionary per task: `category`, `models`, `reviews` and `stars` (their sum); the most frequent first."""
        figures = {"models": Count("id"), "reviews": Sum("rating_count"), "stars": Sum("rating_sum")}
        return self.values("category").annotate(**figures).order_by("-models", "category")

    def callable_by_openai(self) -> AIModelQuerySet:
        """Models with an OpenAI-compatible endpoint behind them."""
        version: Any = self.model._meta.get_field("versions").related_model
        versions = version.objects.filter(
            ai_model=OuterRef("pk"), endpoint__isnull=False, pk__lte=OuterRef("current_version")
        )
        protocol = Subquery(versions.order_by("-pk").values("endpoint__protocol")[:1])
        return self.filter(is_callable=True).alias(protocol=protocol).filter(protocol="openai")

    def detailed(self) -> AIModelQuerySet:
        """With everything that the API and the pages show of a model, in a fixed number of queries."""
        prices = Prefetch("prices", self._prices().current(), to_attr="prices_in_force")
        related = self.select_related("publisher", "current_version", "measurement")
        return related.defer("search_vector").prefetch_related(prices)

    def in_order(self, ids: Sequence[UUID]) -> list[AIModel]:
        """The models with these ids, in the order of the ids, as `detailed` but without what a prefetch costs."""
        related = self.select_related("publisher", "current_version", "measurement")
        found = related.defer("search_vector", "measurement__days").in_bulk(ids)
        rows = cast("dict[UUID, AIModel]", found)
        prices = {price.ai_model_id: [price] for price in self._prices().current().filter(ai_model__in=ids)}
        for row in rows.values():
            row.prices_in_force = prices.get(row.pk, [])
        return [rows[id] for id in ids if id in rows]

    def _prices(self) -> Any:
        price: Any = self.model._meta.get_field("prices").related_model
        return price.objects


class VersionQuerySet(models.QuerySet):
    def visible_to(self, organization: Organization | None, *, sees_all: bool = False) -> VersionQuerySet:
        """Published versions, and all of the organization's own models."""
        if sees_all:
            return self.all()
        published = Q(published_at__isnull=False)
        return self.filter(published if organization is None else published | Q(ai_model__publisher=organization))


class PriceQuerySet(models.QuerySet):
    def in_force(self) -> PriceQuerySet:
        """The prices that have come into effect, newest first: the first one of each model is in force."""
        return self.filter(effective_from__lte=ClockNow()).order_by("-effective_from", "-id")

    def by_task(self) -> Any:
        """A dictionary per task of published models: `category`, `models` and how many are `free`, and the lowest rate
        of each kind in nano-units; the most used task first."""
        later = self.model._default_manager.filter(
            ai_model=OuterRef("ai_model"), effective_from__gt=OuterRef("effective_from"), effective_from__lte=ClockNow()
        )
        now = self.filter(~Exists(later), effective_from__lte=ClockNow(), ai_model__status__in=PUBLIC_STATUSES)
        figures = {
            "models": Count("id"),
            "free": Count("id", filter=Q(type="free")),
            "per_million": Min("input_nano_per_million"),
            "per_call": Min("per_call_nano"),
            "calls": Sum("ai_model__popularity"),
        }
        tasks = now.values(category=F("ai_model__category")).annotate(**figures)
        return tasks.order_by("-calls", "-models", "category")

    def current(self) -> PriceQuerySet:
        """The price in force of each model."""
        return self.in_force().order_by("ai_model", "-effective_from", "-id").distinct("ai_model")
