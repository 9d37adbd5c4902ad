"""Which models a query lets through, and the orders that need no words, as PostgreSQL has them."""

from __future__ import annotations

from django.db.models import Q

from marketplace.models import AIModel
from marketplace.querysets import PUBLIC_STATUSES, AIModelQuerySet
from marketplace.search import Band, Facet, Query

ORDERS = {
    "rating": ["-rating_order", "-id"],
    "popular": ["-demand", "-id"],
    "newest": ["-published_at", "-id"],
    "latency": ["latency_order", "-id"],  # what is not measured comes last
    "price": ["price_order", "-id"],
}
BROWSE = ["-is_callable", "-demand", "-id"]


def matching(query: Query) -> AIModelQuerySet:
    """The models that fit all filters; the words are not among them."""
    models = AIModel.objects.filter(visible(query))
    for condition in conditions(query).values():
        models = models.filter(condition)
    return models


def visible(query: Query) -> Q:
    public = Q(status__in=PUBLIC_STATUSES)
    return public | Q(publisher__slug=query.own_slug) if query.own_slug in query.publisher else public


def conditions(query: Query) -> dict[Facet | Band, Q]:
    """What each filter that is set asks of a model."""
    found: dict[Facet | Band, Q] = {}
    if query.category:
        found["category"] = Q(category__in=query.category)
    if query.capability:
        found["capability"] = Q(capabilities__contains=list(query.capability))
    if query.publisher:
        found["publisher"] = Q(publisher__slug__in=query.publisher)
    if query.pricing:
        found["pricing"] = Q(price_type=query.pricing)
    if query.min_rating_tenths:
        found["min_rating"] = Q(rating_tenths__gte=query.min_rating_tenths)
    if query.price_max_nano is not None:
        found["price_max"] = Q(price_order__lte=query.price_max_nano)
    if query.latency_max_ms is not None:
        found["latency_max"] = Q(latency_order__lte=query.latency_max_ms)
    return found
