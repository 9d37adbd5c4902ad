"""Models as the API takes them, and what it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common import clock
from common.money import MAX_NANO
from common.pagination import PageQuery
from common.problems import FieldError
from common.rest import BooleanField, CharField, ChoiceField, DateTimeField, IntegerField, MoneyField, Query, Serializer
from marketplace import search
from marketplace.models import SEMVER, Category, Price
from marketplace.services.pricing import Terms, faults_of
from marketplace.services.schemas import UnfitSchema, check_schema

MAX_CAPABILITIES = 20
CAPABILITY = r"^[a-z0-9](?:[-_]?[a-z0-9])*\Z"


class AmountField(CharField):
    """Nano-units, outside a decimal string such as “0.40”. Null: nothing is asked for this."""

    default_error_messages = {"invalid_amount": "Send a decimal string with at most nine decimals, such as “0.40”."}

    def to_internal_value(self, data: Any) -> int:  # type: ignore[override]
        nano = MoneyField.read_amount(data)
        if nano is None:
            self.fail("invalid_amount")
        return nano


@extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
class AsAnswered(serializers.Field):
    """Something that is only said, and may come back."""

    def to_internal_value(self, data: Any) -> None:
        return None


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


class TermsIn(Serializer):
    """What calls cost."""

    type = ChoiceField(choices=Price.Type.choices)
    amount = AmountField(required=False, allow_null=True, default=None)
    period = ChoiceField(choices=Price.Period.choices, required=False, allow_null=True, default=None)
    currency = CharField(required=False)
    rates = RatesIn(required=False)

    def validate_currency(self, value: str) -> str:
        if value != settings.CURRENCY:
            raise serializers.ValidationError(f"This site works in {settings.CURRENCY} only.", code="wrong_currency")
        return value

    def validate(self, attrs: dict[str, Any]) -> Any:
        """The `Terms`."""
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


class PricingIn(TermsIn):
    """As it is answered, so that a listing can be sent back as it came. Later prices have an address of their own."""

    effective_from = DateTimeField(
        required=False, allow_null=True, default=None, help_text="As answered. To announce a price, use `/prices`."
    )
    announced = AsAnswered(required=False, allow_null=True, help_text="As answered, and not looked at.")

    def validate(self, attrs: dict[str, Any]) -> Any:
        at = attrs["effective_from"]
        if at is not None and at > clock.now():
            detail = "This takes a price that holds at once. Announce one with POST …/prices."
            raise serializers.ValidationError({"effective_from": [serializers.ErrorDetail(detail, code="in_future")]})
        return super().validate(attrs)


class PriceIn(TermsIn):
    """A price, and from when on."""

    effective_from = DateTimeField(
        required=False, allow_null=True, default=None, help_text="An instant to come; null or none: at once."
    )

    def validate(self, attrs: dict[str, Any]) -> Any:
        return {"terms": super().validate(attrs), "effective_from": attrs["effective_from"]}


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
    category = ChoiceField(choices=Category.choices)
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

    changelog = CharField(
        max_length=5_000,
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="Markdown: what the version changed. Null leaves it; that of a published version stays.",
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


class DeprecationIn(Serializer):
    sunset_on = serializers.DateField(
        required=False, allow_null=True, default=None, help_text="The day (UTC) from which the model may be gone."
    )


class SunsetIn(Serializer):
    sunset_on = serializers.DateField(
        allow_null=True, help_text="The day (UTC) from which the version may be gone; null takes it back."
    )


class SinceQuery(Query):
    since = CharField(required=False, max_length=20, default="", help_text="A version; the one before, if not given.")


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
    category = serializers.ListField(child=ChoiceField(choices=Category.choices), required=False)
    capability = serializers.ListField(child=CharField(max_length=40), max_length=MAX_CAPABILITIES, required=False)
    pricing = ChoiceField(choices=Price.Type.choices, required=False)
    publisher = serializers.ListField(child=CharField(max_length=40), max_length=20, required=False)
    min_rating = RatingField(required=False, default=0)
    price_max = PriceLimitField(required=False, default=None)
    latency_max = IntegerField(
        min_value=1, max_value=3_600_000, required=False, default=None, help_text="Milliseconds of the measured median."
    )
    sort = ChoiceField(
        choices=search.SORTS,
        required=False,
        default="relevance",
        help_text="`latency`: by the measured median, the fastest first; models without enough calls come last.",
    )
    facets = BooleanField(required=False, default=False)


class ExploreQuery(SearchQuery):
    """The parameters of the page of models."""

    view = ChoiceField(choices=["grid", "table"], required=False, default="grid")


def query_of(params: Mapping[str, Any], *, own_slug: str = "") -> search.Query:
    return search.Query(
        text=params["q"],
        category=params.get("category", ()),
        capability=params.get("capability", ()),
        pricing=params.get("pricing", ""),
        publisher=params.get("publisher", ()),
        min_rating_tenths=params["min_rating"],
        price_max_nano=params["price_max"],
        latency_max_ms=params["latency_max"],
        sort=params["sort"],
        own_slug=own_slug,
    )
