"""Reads of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import models
from django.db.models import (
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    Min,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Sum,
    Value,
    When,
)
from django.dispatch import Signal

from common.clock import ClockNow
from common.ids import decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from accounts.models import Organization
    from marketplace.models import AIModel

#: The states in which everybody may see a model.
PUBLIC_STATUSES = ("published", "deprecated")
#: Columns of a listing that no reader is shown, and those that lists are filtered and ordered by.
UNSEEN = frozenset({"checked_at", "check_passed", "reviewed", "review_note", "is_demo"})
LISTED = frozenset(
    {
        *("status", "publisher", "publisher_id", "category", "capabilities", "published_at", "is_callable"),
        *("rating_sum", "rating_count", "demand", "latency_order", "price_type", "price_order"),
    }
)
#: Sent where `update` has changed rows, with their `ids` and the names of the `fields`: Django says nothing of those.
updated = Signal()


class AIModelQuerySet(models.QuerySet):
    def update(self, **values: Any) -> int:
        """Django's, and whoever keeps what it changes is told."""
        if values.keys() <= UNSEEN:
            return super().update(**values)
        ids = list(self.order_by().values_list("pk", flat=True))
        changed = super().update(**values)
        updated.send(self.model, ids=ids, fields=values.keys())
        return changed

    update.alters_data = True  # type: ignore[attr-defined]

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
        prices = Prefetch("prices", self._prices().known(), to_attr="known_prices")
        related = self.select_related("publisher", "current_version", "measurement")
        return related.defer("search_vector").prefetch_related(prices)

    def related_to(self, ai_model: AIModel, count: int) -> list[AIModel]:
        """Others for the same task that can be called: of the most wanted ones those that can do most of the same."""
        same = self.published().filter(category=ai_model.category, is_callable=True).exclude(pk=ai_model.pk)
        rows = list(same.order_by("-demand", "-id").values_list("pk", "capabilities")[: 8 * count])
        wanted = set(ai_model.capabilities)
        rows.sort(key=lambda row: -len(wanted.intersection(row[1])))
        return self.in_order([pk for pk, _capabilities in rows[:count]])

    def in_order(self, ids: Sequence[UUID]) -> list[AIModel]:
        """The models with these ids, in the order of the ids, as `detailed` but without what a prefetch costs."""
        related = self.select_related("publisher", "current_version", "measurement")
        found = related.defer("search_vector", "measurement__days").in_bulk(ids)
        rows = cast("dict[UUID, AIModel]", found)
        for row in rows.values():
            row.known_prices = []
        for price in self._prices().known().filter(ai_model__in=list(rows)):
            rows[price.ai_model_id].known_prices.append(price)
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


class PriceInForce(Func):
    """The id of the price in force of a model: what is shown, billed and said by the API, by the one SQL function."""

    template = "(SELECT r.id FROM marketplace_price_in_force(%(expressions)s) r)"
    output_field = models.UUIDField()


class PriceQuerySet(models.QuerySet):
    def in_force(self) -> PriceQuerySet:
        """The price in force of each model."""
        return self.filter(pk=PriceInForce("ai_model_id"))

    def announced(self) -> PriceQuerySet:
        """Those that are to come, the soonest first."""
        return self.filter(effective_from__gt=ClockNow()).order_by("effective_from")

    def known(self) -> PriceQuerySet:
        """Of each model the price in force, and those announced, the soonest first; `is_announced` tells them apart."""
        is_announced = Q(effective_from__gt=ClockNow())
        rows = self.filter(Q(pk=PriceInForce("ai_model_id")) | is_announced).order_by("effective_from")
        return rows.annotate(is_announced=ExpressionWrapper(is_announced, models.BooleanField()))

    def history(self) -> PriceQuerySet:
        """All there were and will be, with `state`: announced, in_force or past."""
        state = Case(
            When(effective_from__gt=ClockNow(), then=Value("announced")),
            When(pk=PriceInForce("ai_model_id"), then=Value("in_force")),
            default=Value("past"),
        )
        return self.annotate(state=state)

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
