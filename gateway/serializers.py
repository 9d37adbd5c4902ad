"""Shapes of endpoints, calls and receipts."""

from __future__ import annotations

import base64
import json
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Budget
from apikeys.services import MAX_RATE_LIMIT, Limit
from common.ids import encode
from common.money import money
from common.pagination import PageQuery
from common.rest import CharField, DateTimeField, IntegerField, MoneyField, Query, Serializer, TypeIDField
from common.spending import SpendLimitField
from gateway.adapters import MAX_TOKENS
from gateway.hotpath.predictions import ObjectField
from gateway.models import ContractCheck, Deployment, Endpoint, Invocation, Prediction, UsageConfirmation
from gateway.services import signing_key_of
from gateway.services.check_words import steps_of
from gateway.services.contract import NAMES
from gateway.services.deployments import MAX_NAME_LENGTH
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
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=["key", "deployment", "organization", "credit", "person"]
    )
    limit = AmountOrCount()
    used = AmountOrCount()
    held = AmountOrCount()
    remaining = AmountOrCount(source="left")
    window = serializers.CharField(help_text="minute, day, week, month or lifetime.")
    resets_at = DateTimeField(allow_null=True, help_text="When all of it is there again; null: never by itself.")
    is_reached = serializers.BooleanField()
    is_tightest = serializers.BooleanField()


class LimitsQuery(Query):
    deployment = CharField(
        max_length=MAX_NAME_LENGTH, required=False, help_text="Of calls by the name of this deployment."
    )


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


class CheckStepOut(Serializer):
    """One question of a contract check. Made from `StepWords`."""

    name = serializers.ChoiceField(choices=NAMES)
    title = serializers.CharField()
    outcome = serializers.ChoiceField(choices=("waiting", "passed", "open", "failed", "skipped"))
    seen = serializers.CharField()
    wanted = serializers.CharField(help_text="Empty where nothing is wrong; so is the next.")
    fix = serializers.CharField()
    milliseconds = serializers.IntegerField(allow_null=True)
    sent = serializers.CharField(help_text="The request, cut where it is long; never a secret.")
    received = serializers.CharField()


class CheckOut(Serializer):
    """A run of the contract check."""

    id = TypeIDField("chk")
    status = serializers.ChoiceField(choices=ContractCheck.Status.choices)
    reason = serializers.ChoiceField(choices=ContractCheck.Reason.choices)
    steps = serializers.SerializerMethodField(help_text="All eight; those to come are `waiting`.")
    created_at = DateTimeField()
    started_at = DateTimeField(allow_null=True)
    ended_at = DateTimeField(allow_null=True)

    @extend_schema_field(CheckStepOut(many=True))
    def get_steps(self, check: ContractCheck) -> Any:
        return CheckStepOut(steps_of(check.steps), many=True).data


class DeploymentPatch(Serializer):
    """What of a deployment can be changed."""

    name = CharField(
        max_length=MAX_NAME_LENGTH, required=False, help_text="a–z, 0–9 and hyphens: what is sent as `model`."
    )
    version = CharField(max_length=20, required=False, allow_null=True, help_text="null: always the current one.")
    status = serializers.ChoiceField(choices=Deployment.Status.choices, required=False)
    rate_limit = IntegerField(min_value=1, max_value=MAX_RATE_LIMIT, required=False, allow_null=True)
    spend_limit = SpendLimitField(required=False, allow_null=True)
    fallback_model_id = TypeIDField(
        "mdl",
        source="fallback_id",
        required=False,
        allow_null=True,
        help_text="The model that is called instead while this one cannot be called or fails.",
    )


class DeploymentIn(DeploymentPatch):
    name = CharField(max_length=MAX_NAME_LENGTH, help_text="a–z, 0–9 and hyphens: what is sent as `model`.")
    model_id = TypeIDField("mdl", source="ai_model_id")


class SpentOut(Serializer):
    """What of a spend limit is used in its present window. Made from a `Budget`."""

    used = MoneyField(source="spent")
    held = MoneyField(help_text="Reserved by calls under way.")
    remaining = MoneyField(source="left")
    resets_at = DateTimeField(source="ends_at", allow_null=True)


class DeploymentOut(Serializer):
    """Needs `spend_limits` in the context: deployment id -> the budget that limits it."""

    id = TypeIDField("dep")
    name = serializers.CharField()
    model_id = TypeIDField("mdl", source="ai_model_id")
    version = serializers.SerializerMethodField(help_text="The pinned one; null: always the current one.")
    status = serializers.ChoiceField(choices=Deployment.Status.choices)
    rate_limit = serializers.IntegerField(allow_null=True, help_text="Calls a minute.")
    spend_limit = serializers.SerializerMethodField()
    spent = serializers.SerializerMethodField()
    fallback_model_id = TypeIDField("mdl", source="fallback_id", allow_null=True)
    created_at = DateTimeField()

    def get_version(self, deployment: Deployment) -> str | None:
        return None if deployment.version is None else deployment.version.version

    @extend_schema_field(SpendLimitField(allow_null=True))
    def get_spend_limit(self, deployment: Deployment) -> Any:
        budget = self._budget(deployment)
        return None if budget is None else SpendLimitField().to_representation(budget)

    @extend_schema_field(SpentOut(allow_null=True))
    def get_spent(self, deployment: Deployment) -> Any:
        budget = self._budget(deployment)
        return None if budget is None else SpentOut(budget).data

    def _budget(self, deployment: Deployment) -> Budget | None:
        found: Budget | None = self.context["spend_limits"].get(deployment.pk)
        return found


class EndpointIn(Serializer):
    url = CharField(max_length=500)
    protocol = serializers.ChoiceField(choices=Endpoint.Protocol.choices)
    upstream_model = CharField(max_length=120, required=False, allow_blank=True)
    auth_header = CharField(
        max_length=60,
        required=False,
        help_text="Which header carries the secret: `Authorization`, of the protocol `anthropic` `x-api-key`, or this.",
    )
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


class ConfirmationIn(Serializer):
    request_id = TypeIDField("req")
    input_tokens = IntegerField(min_value=0, max_value=MAX_TOKENS)
    output_tokens = IntegerField(min_value=0, max_value=MAX_TOKENS)


class ConfirmationOut(serializers.Serializer[UsageConfirmation]):
    """The confirmation that counts, which is the first."""

    request_id = TypeIDField("req", source="id")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    received_at = serializers.DateTimeField()


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
    deployment = serializers.SerializerMethodField(help_text="By whose name the model was called.")
    fallback_id = TypeIDField("req", allow_null=True, help_text="The call that was made instead of this failed one.")
    fallback_of = TypeIDField("req", source="fallback_of_id", allow_null=True, help_text="The failed call before it.")
    status = serializers.IntegerField(source="http_status", allow_null=True)
    error_code = serializers.SerializerMethodField()
    usage = serializers.SerializerMethodField()
    price = serializers.SerializerMethodField()
    hold = MoneyField(source="hold_nano")
    hold_extended = MoneyField(source="extended_nano", help_text="Of the hold, what was added while the call ran.")
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

    def get_deployment(self, call: Invocation) -> dict[str, Any] | None:
        if call.deployment is None:
            return None
        return {"id": call.deployment.public_id, "name": call.deployment.name}

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


class PredictionQuery(PageQuery):
    status = serializers.ChoiceField(choices=Prediction.Status.choices, required=False)


class PredictionURLs(serializers.Serializer[Any]):
    get = serializers.URLField()
    cancel = serializers.URLField()
    receipt = serializers.URLField(help_text="The receipt of its call.")


class PredictionRowOut(serializers.Serializer[Prediction]):
    """A prediction in the list: without what was sent and what came back."""

    id = TypeIDField("pred")
    object = serializers.ChoiceField(choices=["prediction"])
    model = serializers.CharField(help_text="publisher/name")
    version = serializers.CharField(help_text="The version that was current when it was accepted.")
    status = serializers.ChoiceField(choices=Prediction.Status.choices)
    error_code = serializers.CharField(allow_null=True)
    cost = MoneyField(allow_null=True, help_text="Null while it is live, and where only its receipt can say.")
    request_id = TypeIDField("req")
    created_at = DateTimeField()
    started_at = DateTimeField(allow_null=True)
    completed_at = DateTimeField(allow_null=True)
    deadline_at = DateTimeField(help_text="When it ends, done or not.")
    expires_at = DateTimeField(allow_null=True, help_text="Until when input, output and error are kept.")
    urls = PredictionURLs()


class PredictionOut(PredictionRowOut):
    """The whole prediction, as `gateway.services.predictions` writes it."""

    input = ObjectField()
    output = serializers.JSONField(allow_null=True)
    error = ObjectField(allow_null=True, help_text="As `error` of a call that failed.")
    webhook = serializers.CharField(allow_null=True)
    webhook_events = serializers.ListField(child=serializers.CharField())


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
    if kind == Invocation.Kind.MESSAGES:
        return {"text": _cut(_text_of_parts(output.get("content") if isinstance(output, dict) else None))}
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
        content = _text_of_parts(content)
    return _cut(content) if isinstance(content, str) else ""


def _text_of_parts(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


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
