"""Models as the API shows them. Built by hand: a ModelSerializer takes three times as long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.urls import reverse
from rest_framework import serializers

from common.ids import encode
from common.money import amount, money
from common.rest import BooleanField, CharField, DateTimeField, IntegerField, MoneyField, Serializer, TypeIDField
from marketplace.models import AIModel, Category, Measurement, ModelVersion, Price
from marketplace.search import Band, Count, Facet
from marketplace.services.differences import changes_between
from marketplace.services.measurements import typical_cost


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def optional_amount(nano: int | None) -> str | None:
    return None if nano is None else amount(nano)


def terms_out(price: Price) -> dict[str, Any]:
    """The same figures that calls are billed with."""
    return {
        "type": price.type,
        "amount": optional_amount(price.amount_nano),
        "period": price.period,
        "currency": price.currency,
        "rates": {
            "per_call": optional_amount(price.per_call_nano),
            "input_tokens_per_million": optional_amount(price.input_nano_per_million),
            "output_tokens_per_million": optional_amount(price.output_nano_per_million),
            "included_calls": price.included_calls,
        },
        "effective_from": instant(price.effective_from),
    }


def pricing_out(ai_model: AIModel) -> dict[str, Any] | None:
    """The price in force and the next that is announced; null as long as a draft has no price."""
    price, announced = ai_model.price, ai_model.announced_price
    if price is None:
        return None
    return {**terms_out(price), "announced": None if announced is None else terms_out(announced)}


def price_out(price: Price) -> dict[str, Any]:
    """One of `PriceQuerySet.history`."""
    return {"id": encode("prc", price.id), **terms_out(price), "state": price.state}


def stats_out(ai_model: AIModel) -> dict[str, Any]:
    """What others have made of the model. A measured figure is null as long as it would rest on too few calls."""
    found = ai_model.measured or Measurement(requests=0, sample_size=0)
    cost = typical_cost(ai_model)
    return {
        "rating": ai_model.rating,
        "reviews": ai_model.rating_count,
        "deployments": ai_model.deployment_count,
        "requests": found.requests,
        "sample_size": found.sample_size,
        "latency_ms": {"p50": found.latency_p50_ms, "p95": found.latency_p95_ms},
        "first_token_ms": {"p50": found.first_token_p50_ms, "p95": found.first_token_p95_ms},
        "tokens_per_second": None if found.tokens_per_second is None else float(found.tokens_per_second),
        "uptime_percent": None if found.uptime_bp is None else found.uptime_bp / 100,
        "typical_request": {
            "input_tokens": found.typical_input_tokens,
            "output_tokens": found.typical_output_tokens,
            "cost": None if cost is None else money(cost, settings.CURRENCY),
        },
        "measured_at": instant(found.measured_at),
    }


def model_out(ai_model: AIModel) -> dict[str, Any]:
    """One model. Reads nothing when it comes from `AIModelQuerySet.detailed`."""
    publisher, version = ai_model.publisher, ai_model.current_version
    return {
        "id": encode("mdl", ai_model.id),
        "slug": f"{publisher.slug}/{ai_model.slug}",
        "name": ai_model.name,
        "description": ai_model.description,
        "version": version.version if version else None,
        "category": ai_model.category,
        "capabilities": ai_model.capabilities,
        "api_spec": {"input": version.input_schema, "output": version.output_schema} if version else None,
        "pricing": pricing_out(ai_model),
        "license": ai_model.license,
        "logo": None
        if ai_model.logo is None
        else f"{settings.SITE_URL}{reverse('media', args=[ai_model.logo, '256.webp'])}",
        "context_tokens": ai_model.context_tokens,
        "stats": stats_out(ai_model),
        "publisher": {"id": encode("org", publisher.id), "slug": publisher.slug, "name": publisher.name},
        "status": ai_model.status,
        "sunset_on": None if ai_model.sunset_on is None else ai_model.sunset_on.isoformat(),
        "degraded": ai_model.degraded_at is not None,
        "callable": ai_model.is_callable,
        "test_enabled": ai_model.test_enabled,
        "created_at": instant(ai_model.created_at),
        "updated_at": instant(ai_model.updated_at),
    }


def version_out(version: ModelVersion, *, current_id: Any) -> dict[str, Any]:
    return {
        "id": encode("ver", version.id),
        "version": version.version,
        "api_spec": {"input": version.input_schema, "output": version.output_schema},
        "changelog": version.changelog,
        "is_current": version.id == current_id,
        "sunset_on": None if version.sunset_on is None else version.sunset_on.isoformat(),
        "published_at": instant(version.published_at),
        "created_at": instant(version.created_at),
    }


def comparison_out(old: ModelVersion | None, new: ModelVersion) -> dict[str, Any]:
    """What changed from one version to another, field by field; from none, nothing."""
    changes = changes_between(old, new) if old is not None else []
    return {
        "since": old.version if old is not None else None,
        "version": new.version,
        "breaking": sum(change.is_breaking for change in changes),
        "changes": [
            {
                "side": change.side,
                "pointer": change.pointer,
                "kind": change.kind,
                "before": change.was or None,
                "after": change.now or None,
                "is_breaking": change.is_breaking,
            }
            for change in changes
        ],
    }


def facets_out(facets: Mapping[Facet | Band, Iterable[Count]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [{"value": count.value, "count": count.count} for count in counts] for name, counts in facets.items()}


# What the functions above make, for the OpenAPI document.


class RatesOut(Serializer):
    per_call = CharField(allow_null=True)
    input_tokens_per_million = CharField(allow_null=True)
    output_tokens_per_million = CharField(allow_null=True)
    included_calls = IntegerField()


class TermsOut(Serializer):
    type = serializers.ChoiceField(choices=Price.Type.choices)
    amount = CharField(allow_null=True)
    period = serializers.ChoiceField(choices=Price.Period.choices, allow_null=True)
    currency = CharField()
    rates = RatesOut()
    effective_from = DateTimeField()


class PricingOut(TermsOut):
    """The price in force."""

    announced = TermsOut(allow_null=True, help_text="The next price, and from when on.")


class PriceOut(TermsOut):
    """One price of a model's history."""

    id = TypeIDField("prc")
    state = serializers.ChoiceField(choices=["announced", "in_force", "past"])


class ApiSpecOut(Serializer):
    input = serializers.DictField()
    output = serializers.DictField()


class PercentilesOut(Serializer):
    """The median, and what 19 of 20 stay below."""

    p50 = IntegerField(allow_null=True)
    p95 = IntegerField(allow_null=True)


class TypicalRequestOut(Serializer):
    """A request of the usual size."""

    input_tokens = IntegerField(allow_null=True, help_text="The median.")
    output_tokens = IntegerField(allow_null=True, help_text="The median.")
    cost = MoneyField(allow_null=True, help_text="Of a call of this size at the price in force.")


class StatsOut(Serializer):
    """Measured figures are of the last 30 days, and null below 50 calls."""

    rating = serializers.FloatField()
    reviews = IntegerField()
    deployments = IntegerField()
    requests = IntegerField(help_text="All that ended, whatever for.")
    sample_size = IntegerField(help_text="Those that were answered, or failed for the publisher's reasons.")
    latency_ms = PercentilesOut()
    first_token_ms = PercentilesOut(help_text="Of streamed calls.")
    tokens_per_second = serializers.FloatField(allow_null=True, help_text="The median, after the first token.")
    uptime_percent = serializers.FloatField(allow_null=True, help_text="The share of `sample_size` that was answered.")
    typical_request = TypicalRequestOut()
    measured_at = DateTimeField(allow_null=True)


class PublisherOut(Serializer):
    id = TypeIDField("org")
    slug = CharField()
    name = CharField()


class AIModelOut(Serializer):
    id = TypeIDField("mdl")
    slug = CharField()
    name = CharField()
    description = CharField()
    version = CharField()
    category = serializers.ChoiceField(choices=Category.choices)
    capabilities = serializers.ListField(child=CharField())
    api_spec = ApiSpecOut()
    pricing = PricingOut()
    license = CharField()
    logo = CharField(allow_null=True, help_text="Where its picture is; further ones at `/api/models/{ref}/files`.")
    context_tokens = IntegerField(allow_null=True)
    stats = StatsOut()
    publisher = PublisherOut()
    status = serializers.ChoiceField(choices=AIModel.Status.choices)
    sunset_on = serializers.DateField(allow_null=True, help_text="Of a deprecated one: the day it may be gone.")
    degraded = BooleanField(help_text="Its endpoint failed the contract check twice in a row.")
    callable = BooleanField()
    test_enabled = BooleanField()
    created_at = DateTimeField()
    updated_at = DateTimeField()


class FacetOut(Serializer):
    value = CharField()
    count = IntegerField()


class FacetsOut(Serializer):
    category = FacetOut(many=True)
    capability = FacetOut(many=True)
    pricing = FacetOut(many=True)
    publisher = FacetOut(many=True)
    price_max = FacetOut(many=True, help_text="How many models keep each bound; so too the next two.")
    min_rating = FacetOut(many=True)
    latency_max = FacetOut(many=True)


class AIModelsOut(Serializer):
    data = AIModelOut(many=True)  # type: ignore[assignment]  # a field of that name, not the property
    has_more = BooleanField()
    next_cursor = CharField(allow_null=True)
    facets = FacetsOut(required=False, help_text="With `facets=true`.")


class VersionOut(Serializer):
    id = TypeIDField("ver")
    version = CharField()
    api_spec = ApiSpecOut()
    changelog = CharField()
    is_current = BooleanField()
    sunset_on = serializers.DateField(allow_null=True, help_text="The day (UTC) from which it may be gone.")
    published_at = DateTimeField(allow_null=True)
    created_at = DateTimeField()


class ChangeOut(Serializer):
    side = serializers.ChoiceField(choices=["input", "output"])
    pointer = CharField(help_text="Of the field, as a JSON Pointer into what is sent or answered.")
    kind = serializers.ChoiceField(choices=["added", "removed", "narrowed", "widened", "changed"])
    before = CharField(allow_null=True, help_text="As JSON, shortened to 120 characters.")
    after = CharField(allow_null=True)
    is_breaking = BooleanField(help_text="A call that was right may be refused now, or an answer not be understood.")


class ComparisonOut(Serializer):
    since = CharField(allow_null=True, help_text="null: it is the first version.")
    version = CharField()
    breaking = IntegerField(help_text="How many of the changes break callers.")
    changes = ChangeOut(many=True, help_text="Of the input, then of the output; at most 200 of each.")
