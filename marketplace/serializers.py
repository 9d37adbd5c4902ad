"""Models as the API reads and writes them. Out is built by hand: a ModelSerializer takes three times as long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.ids import encode
from common.money import MAX_NANO, amount, money
from common.pagination import PageQuery
from common.problems import FieldError
from common.rest import BooleanField, CharField, DateTimeField, IntegerField, MoneyField, Serializer, TypeIDField
from marketplace import search
from marketplace.models import SEMVER, AIModel, Category, Measurement, ModelVersion, Price
from marketplace.search import Count, Facet
from marketplace.services.measurements import typical_cost
from marketplace.services.pricing import Terms, faults_of
from marketplace.services.schemas import UnfitSchema, check_schema

MAX_CAPABILITIES = 20
CAPABILITY = r"^[a-z0-9](?:[-_]?[a-z0-9])*\Z"


# --- In ---------------------------------------------------------------------------------------------------------------


class AmountField(CharField):
    """Nano-units, outside a decimal string such as “0.40”. Null: nothing is asked for this."""

    default_error_messages = {"invalid_amount": "Send a decimal string with at most nine decimals, such as “0.40”."}

    def to_internal_value(self, data: Any) -> int:  # type: ignore[override]
        nano = MoneyField.read_amount(data)
        if nano is None:
            self.fail("invalid_amount")
        return nano


@extend_schema_field({"type": "object", "additionalProperties": True})
class SchemaField(serializers.Field):
    """A JSON Schema that this site accepts."""

    def __init__(self, *, takes_object: bool = False, **kwargs: Any) -> None:
        self.takes_object = takes_object
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        try:
            check_schema(data, takes_object=self.takes_object)
        except UnfitSchema as fault:
            raise serializers.ValidationError(nested([fault])) from fault
        return data


def nested(faults: Iterable[FieldError | UnfitSchema]) -> Any:
    """Faults with pointers as DRF nests them."""
    tree: dict[str, Any] = {}
    for fault in faults:
        if isinstance(fault, UnfitSchema):
            fault = FieldError(pointer=fault.pointer, code=fault.code, detail=fault.detail)
        *path, last = [token.replace("~1", "/").replace("~0", "~") for token in fault["pointer"].split("/")][1:] or [
            "non_field_errors"
        ]
        node = tree
        for token in path:
            node = node.setdefault(token, {})
        node.setdefault(last, []).append(serializers.ErrorDetail(fault["detail"], code=fault["code"]))
    return tree


class RatesIn(Serializer):
    per_call = AmountField(required=False, allow_null=True, default=None)
    input_tokens_per_million = AmountField(required=False, allow_null=True, default=None)
    output_tokens_per_million = AmountField(required=False, allow_null=True, default=None)
    included_calls = IntegerField(min_value=0, max_value=2**31 - 1, default=0)


class PricingIn(Serializer):
    type = serializers.ChoiceField(choices=Price.Type.choices)
    amount = AmountField(required=False, allow_null=True, default=None)
    period = serializers.ChoiceField(choices=Price.Period.choices, required=False, allow_null=True, default=None)
    currency = CharField(required=False)
    rates = RatesIn(required=False)

    def validate_currency(self, value: str) -> str:
        if value != settings.CURRENCY:
            raise serializers.ValidationError(f"This site works in {settings.CURRENCY} only.", code="wrong_currency")
        return value

    def validate(self, attrs: dict[str, Any]) -> Terms:
        rates = attrs.get("rates", {})
        terms = Terms(
            type=attrs["type"],
            amount_nano=attrs["amount"],
            period=attrs["period"],
            per_call_nano=rates.get("per_call"),
            input_nano_per_million=rates.get("input_tokens_per_million"),
            output_nano_per_million=rates.get("output_tokens_per_million"),
            included_calls=rates.get("included_calls", 0),
        )
        if faults := faults_of(terms):
            raise serializers.ValidationError(nested(faults))
        return terms


class ApiSpecIn(Serializer):
    input = SchemaField(takes_object=True, help_text="JSON Schema (draft 2020-12) of the request body.")
    output = SchemaField(help_text="JSON Schema (draft 2020-12) of the answer.")


class VersionNumberField(serializers.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        message = "Send a version such as “1.4.2”: three numbers of at most six digits."
        super().__init__(SEMVER.replace("$", r"\Z"), error_messages={"invalid": message}, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class AIModelIn(Serializer):
    name = CharField(max_length=120)
    description = CharField(max_length=20_000, help_text="Markdown.")
    version = VersionNumberField()
    category = serializers.ChoiceField(choices=Category.choices)
    capabilities = serializers.ListField(
        child=serializers.RegexField(CAPABILITY, max_length=40), max_length=MAX_CAPABILITIES, required=False
    )
    api_spec = ApiSpecIn()
    pricing = PricingIn()
    license = CharField(
        max_length=60, required=False, allow_blank=True, default="", help_text="An SPDX identifier, or a few words."
    )
    context_tokens = IntegerField(
        min_value=1,
        max_value=2**31 - 1,
        required=False,
        allow_null=True,
        default=None,
        help_text="The most tokens that one call may hold.",
    )
    test_enabled = BooleanField(
        required=False, help_text="Keys in test mode may call it; such calls are real, and nothing is paid for them."
    )

    def validate_name(self, value: str) -> str:
        if not value.isprintable():
            raise serializers.ValidationError("A name is one line of printable characters.", code="invalid")
        return value

    def validate_license(self, value: str) -> str:
        if not value.isprintable():
            raise serializers.ValidationError("A license is one line of printable characters.", code="invalid")
        return value


class VersionIn(Serializer):
    version = VersionNumberField()
    api_spec = ApiSpecIn()
    changelog = CharField(max_length=5_000, required=False, allow_blank=True, default="")


class Nothing(Serializer):
    """A body without fields."""


class PriceLimitField(CharField):
    """Nano-units of a decimal in a query."""

    default_error_messages = {"invalid_amount": "Give a decimal number of at least 0, such as 0.50."}

    def to_internal_value(self, data: Any) -> int:  # type: ignore[override]
        nano = MoneyField.read_amount(data)
        if nano is None or not 0 <= nano <= MAX_NANO:
            self.fail("invalid_amount")
        return nano


@extend_schema_field({"type": "number", "minimum": 0, "maximum": 5, "multipleOf": 0.1})
class RatingField(serializers.Field):
    """Tenths of a rating between 0 and 5."""

    default_error_messages = {"invalid_rating": "Give a number from 0 to 5 with at most one decimal, such as 4.5."}

    def to_internal_value(self, data: Any) -> int:
        try:
            tenths = Decimal(data) * 10
        except (InvalidOperation, TypeError):
            self.fail("invalid_rating")
        if not (tenths.is_finite() and 0 <= tenths <= 50 and tenths == int(tenths)):
            self.fail("invalid_rating")
        return int(tenths)


class SearchQuery(PageQuery):
    """The filters of the catalogue; the page of models takes them too."""

    q = CharField(required=False, allow_blank=True, max_length=search.MAX_TEXT_LENGTH, default="")
    category = serializers.ListField(child=serializers.ChoiceField(choices=Category.choices), required=False)
    capability = serializers.ListField(child=CharField(max_length=40), max_length=MAX_CAPABILITIES, required=False)
    pricing = serializers.ChoiceField(choices=Price.Type.choices, required=False)
    publisher = serializers.ListField(child=CharField(max_length=40), max_length=20, required=False)
    min_rating = RatingField(required=False, default=0)
    price_max = PriceLimitField(required=False, default=None)
    sort = serializers.ChoiceField(choices=search.SORTS, required=False, default="relevance")
    facets = BooleanField(required=False, default=False)


class ExploreQuery(SearchQuery):
    """The parameters of the page of models."""

    view = serializers.ChoiceField(choices=["grid", "table"], required=False, default="grid")


def query_of(params: Mapping[str, Any], *, own_slug: str = "") -> search.Query:
    return search.Query(
        text=params["q"],
        category=params.get("category", ()),
        capability=params.get("capability", ()),
        pricing=params.get("pricing", ""),
        publisher=params.get("publisher", ()),
        min_rating_tenths=params["min_rating"],
        price_max_nano=params["price_max"],
        sort=params["sort"],
        own_slug=own_slug,
    )


# --- Out --------------------------------------------------------------------------------------------------------------


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def optional_amount(nano: int | None) -> str | None:
    return None if nano is None else amount(nano)


def pricing_out(price: Price | None) -> dict[str, Any] | None:
    """The same figures that calls are billed with; null as long as a draft has no price."""
    if price is None:
        return None
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
    }


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
        "pricing": pricing_out(ai_model.price),
        "license": ai_model.license,
        "context_tokens": ai_model.context_tokens,
        "stats": stats_out(ai_model),
        "publisher": {"id": encode("org", publisher.id), "slug": publisher.slug, "name": publisher.name},
        "status": ai_model.status,
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
        "published_at": instant(version.published_at),
        "created_at": instant(version.created_at),
    }


def facets_out(facets: Mapping[Facet, Iterable[Count]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [{"value": count.value, "count": count.count} for count in counts] for name, counts in facets.items()}


# What the functions above make, for the OpenAPI document.


class RatesOut(Serializer):
    per_call = CharField(allow_null=True)
    input_tokens_per_million = CharField(allow_null=True)
    output_tokens_per_million = CharField(allow_null=True)
    included_calls = IntegerField()


class PricingOut(Serializer):
    type = serializers.ChoiceField(choices=Price.Type.choices)
    amount = CharField(allow_null=True)
    period = serializers.ChoiceField(choices=Price.Period.choices, allow_null=True)
    currency = CharField()
    rates = RatesOut()


class ApiSpecOut(Serializer):
    input = serializers.DictField()
    output = serializers.DictField()


class PercentilesOut(Serializer):
    p50 = IntegerField(allow_null=True)
    p95 = IntegerField(allow_null=True)


class CostOut(Serializer):
    amount = CharField()
    currency = CharField()


class TypicalRequestOut(Serializer):
    input_tokens = IntegerField(allow_null=True, help_text="The median.")
    output_tokens = IntegerField(allow_null=True, help_text="The median.")
    cost = CostOut(allow_null=True, help_text="Of a call of this size at the price in force.")


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
    context_tokens = IntegerField(allow_null=True)
    stats = StatsOut()
    publisher = PublisherOut()
    status = serializers.ChoiceField(choices=AIModel.Status.choices)
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
    published_at = DateTimeField(allow_null=True)
    created_at = DateTimeField()
