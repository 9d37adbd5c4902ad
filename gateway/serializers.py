"""Shapes of endpoints, calls and receipts."""

from __future__ import annotations

import base64
import json
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apikeys.services import Limit
from common.ids import encode
from common.money import money
from common.pagination import PageQuery
from common.rest import CharField, DateTimeField, IntegerField, MoneyField, Serializer, TypeIDField
from gateway.models import Endpoint, Invocation
from gateway.services import signing_key_of
from marketplace.models import Price


@extend_schema_field(
    {
        "oneOf": [
            {"type": "integer"},
            {
                "type": "object",
                "required": ["amount", "currency"],
                "properties": {"amount": {"type": "string"}, "currency": {"type": "string"}},
            },
        ]
    }
)
class AmountOrCount(serializers.Field[int, Any, Any, Any]):
    """Of money an amount, of requests their number."""

    def get_attribute(self, instance: Limit) -> Any:
        return instance.is_money, super().get_attribute(instance)

    def to_representation(self, value: Any) -> Any:
        is_money, number = value
        return money(number, settings.CURRENCY) if is_money else number


class LimitOut(serializers.Serializer[Limit]):
    """`held` is reserved by calls under way. The tightest is marked once among the money, once among the rates."""

    kind = serializers.ChoiceField(choices=["spend", "credit", "rate"])
    source = serializers.ChoiceField(choices=["key", "organization", "credit", "person"])  # type: ignore[assignment]
    limit = AmountOrCount()
    used = AmountOrCount()
    held = AmountOrCount()
    remaining = AmountOrCount(source="left")
    window = serializers.CharField(help_text="minute, day, week, month or lifetime.")
    resets_at = DateTimeField(allow_null=True, help_text="When all of it is there again; null: never by itself.")
    is_reached = serializers.BooleanField()
    is_tightest = serializers.BooleanField()


class LimitsOut(serializers.Serializer[Any]):
    organization_id = TypeIDField("org", source="actor.organization.pk")
    key_id = serializers.SerializerMethodField()
    mode = serializers.SerializerMethodField(help_text="Test calls are never billed: no money limits them.")
    is_blocked = serializers.SerializerMethodField(help_text="A limit is reached, so paid calls are refused now.")
    limits = LimitOut(many=True)

    def get_key_id(self, found: Any) -> str | None:
        key = found["actor"].key
        return None if key is None else encode("key", key.id)

    def get_mode(self, found: Any) -> str:
        key = found["actor"].key
        return "live" if key is None else str(key.mode)

    def get_is_blocked(self, found: Any) -> bool:
        return any(limit.is_reached for limit in found["limits"])


class EndpointIn(Serializer):
    url = CharField(max_length=500)
    protocol = serializers.ChoiceField(choices=Endpoint.Protocol.choices)
    upstream_model = CharField(max_length=120, required=False, allow_blank=True)
    auth_header = CharField(max_length=60, required=False, help_text="Which header carries the secret.")
    secret = CharField(
        max_length=2000,
        required=False,
        allow_blank=True,
        write_only=True,
        help_text="Kept when left out, unless the origin of the URL changes; removed when empty. Never comes back.",
    )
    timeout_seconds = IntegerField(min_value=1, max_value=600, required=False)
    max_cost = MoneyField(
        min_nano=1, required=False, allow_null=True, help_text="What one call is never charged above."
    )


class EndpointOut(serializers.Serializer[Endpoint]):
    """`signing_secret` verifies `X-Agorai-Signature`; the upstream's own secret never comes back."""

    id = TypeIDField("end")
    url = serializers.CharField()
    protocol = serializers.CharField()
    upstream_model = serializers.CharField()
    auth_header = serializers.CharField()
    has_secret = serializers.SerializerMethodField()
    signing_secret = serializers.SerializerMethodField()
    timeout_seconds = serializers.IntegerField()
    max_cost = MoneyField(source="max_cost_nano", allow_null=True)
    updated_at = serializers.DateTimeField()

    def get_has_secret(self, endpoint: Endpoint) -> bool:
        return endpoint.sealed_secret is not None

    def get_signing_secret(self, endpoint: Endpoint) -> str:
        return "whsec_" + base64.b64encode(signing_key_of(endpoint)).decode()


class RequestQuery(PageQuery):
    status = serializers.ChoiceField(choices=["ok", "error"], required=False)


class ReceiptOut(serializers.Serializer[Invocation]):
    """One call with every number behind its cost: price row, quantities, hold, settlement and the rule that applied."""

    id = TypeIDField("req")
    state = serializers.CharField()
    kind = serializers.CharField()
    mode = serializers.CharField()
    streamed = serializers.BooleanField(source="is_streamed")
    model = serializers.SerializerMethodField()
    organization_id = TypeIDField("org")
    key_id = TypeIDField("key", source="api_key_id", allow_null=True)
    status = serializers.IntegerField(source="http_status", allow_null=True)
    error_code = serializers.SerializerMethodField()
    usage = serializers.SerializerMethodField()
    price = serializers.SerializerMethodField()
    hold = MoneyField(source="hold_nano")
    cost = MoneyField(source="cost_nano")
    overrun = MoneyField(source="overrun_nano")
    rule = serializers.SerializerMethodField()
    latency_ms = serializers.IntegerField(allow_null=True)
    first_token_ms = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField(source="started_at")
    settled_at = serializers.DateTimeField(allow_null=True)

    def get_model(self, call: Invocation) -> dict[str, Any]:
        return {
            "id": encode("mdl", call.ai_model_id),
            "slug": f"{call.publisher.slug}/{call.ai_model.slug}",
            "name": call.ai_model.name,
            "version": call.version.version,
        }

    def get_error_code(self, call: Invocation) -> str | None:
        return call.error_code or None

    def get_usage(self, call: Invocation) -> dict[str, Any]:
        return {
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "source": call.usage_source or None,
        }

    def get_price(self, call: Invocation) -> dict[str, Any]:
        return price_row(call.price)

    def get_rule(self, call: Invocation) -> dict[str, Any] | None:
        return {"code": call.rule, "text": str(call.get_rule_display())} if call.rule else None


def price_row(price: Price) -> dict[str, Any]:
    """The frozen price of a call: `prc_…` and its rates."""

    def rate(nano: int | None) -> Any:
        return None if nano is None else money(nano, price.currency)

    return {
        "id": encode("prc", price.id),
        "per_call": rate(price.per_call_nano),
        "input_tokens_per_million": rate(price.input_nano_per_million),
        "output_tokens_per_million": rate(price.output_nano_per_million),
    }


def openai_model(ai_model: Any) -> dict[str, Any]:
    """A callable model as OpenAI's clients list it, with its price beside."""
    price = ai_model.price
    return {
        "id": f"{ai_model.publisher.slug}/{ai_model.slug}",
        "object": "model",
        "created": int(ai_model.published_at.timestamp()),
        "owned_by": ai_model.publisher.slug,
        "name": ai_model.name,
        "version": ai_model.current_version.version,
        "category": ai_model.category,
        "pricing": None if price is None else price_row(price) | {"type": price.type, "currency": settings.CURRENCY},
    }


# --- Answers for people -----------------------------------------------------------------------------------------------

MAX_SHOWN_CHARACTERS = 20_000  # of one text
MAX_RAW_CHARACTERS = 100_000
IMAGES = ("data:image/png;", "data:image/jpeg;", "data:image/webp;", "data:image/gif;")


def answer_shown(kind: str, output: Any) -> dict[str, Any]:
    """What the playground shows of an answer: `text`, or `pairs` of [name, value, whether it is a picture]."""
    if kind == Invocation.Kind.EMBEDDING:
        return {"pairs": _vectors(output)}
    if kind != Invocation.Kind.INVOKE:
        return {"text": _text_of_choice(output)}
    if isinstance(output, dict):
        told = {name: value for name, value in output.items() if name != "usage"}
        if len(told) == 1 and isinstance(text := next(iter(told.values())), str) and not text.startswith(IMAGES):
            return {"text": _cut(text)}
        return {"pairs": [_pair(name, value) for name, value in told.items()]}
    return {"text": _cut(_value_words(output))}


def raw_shown(output: Any) -> str:
    """An answer as JSON, to be read; a long one is cut."""
    return _cut(json.dumps(output, ensure_ascii=False, indent=2), MAX_RAW_CHARACTERS)


def _text_of_choice(output: Any) -> str:
    choices = output.get("choices") if isinstance(output, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else choice.get("text")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return _cut(content) if isinstance(content, str) else ""


def _vectors(output: Any) -> list[list[Any]]:
    rows = output.get("data") if isinstance(output, dict) else None
    found = [row.get("embedding") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    pairs: list[list[Any]] = [[_("Vectors"), str(len(found)), False]]
    if found and isinstance(found[0], list):
        numbers = ", ".join(_value_words(number) for number in found[0][:6])
        pairs += [[_("Numbers in each"), str(len(found[0])), False], [_("The first begins with"), numbers, False]]
    return pairs


def _pair(name: str, value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith(IMAGES):
        return [name, value, True]
    return [name, _cut(value if isinstance(value, str) else _value_words(value)), False]


def _value_words(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
