"""Calls and endpoints for tests, with valid defaults. Calls are made the way the gateway makes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from common import clock
from common.ids import uuid7
from gateway.models import Endpoint, Invocation, Prediction, Rule
from gateway.services.calls import Reserve, Settle, move
from gateway.services.prediction_content import seal_content
from marketplace.models import AIModel


def make_endpoint(ai_model: AIModel, **values: Any) -> Endpoint:
    fields = {"url": "https://models.example.org/v1", "protocol": "openai", "sealed_signing_key": b"x", **values}
    AIModel.objects.filter(pk=ai_model.pk).update(is_callable=True)
    return Endpoint.objects.create(version=ai_model.current_version, **fields)


def make_call(
    ai_model: AIModel,
    *,
    organization: Any,
    user: Any = None,
    api_key: Any = None,
    is_settled: bool = True,
    **ending: Any,
) -> Invocation:
    """A call of the model by the organization, settled unless told otherwise. `cost_nano` is what it cost."""
    cost = ending.pop("cost_nano", 0)
    reserve = Reserve.of(
        id=ending.pop("id", None) or uuid7(),
        organization_id=organization.pk,
        user_id=user and user.pk,
        api_key_id=api_key and api_key.pk,
        publisher_id=ai_model.publisher_id,
        ai_model_id=ai_model.pk,
        version_id=ai_model.current_version_id,
        price_id=ai_model.price.pk,
        kind=ending.pop("kind", "invoke"),
        mode=ending.pop("mode", "live"),
        is_streamed=ending.pop("is_streamed", False),
        hold_nano=cost,
        budget_ids=(),
    )
    move(reserves=[reserve])
    if is_settled:
        fields = {
            "rule": Rule.DEMO,
            "input_tokens": 0,
            "output_tokens": 0,
            "usage_source": "reported",
            "http_status": 200,
            "error_code": "",
            "latency_ms": 10,
            "first_token_ms": None,
            **ending,
        }
        move(settles=[Settle(id=reserve.id, cost_nano=cost, **fields)])
    return Invocation.objects.get(pk=reserve.id)


def make_prediction(call: Invocation) -> Prediction:
    """Of a call that succeeded a moment ago."""
    at = clock.now()
    prediction = Prediction(
        id=call.pk,
        organization_id=call.organization_id,
        user_id=call.user_id,
        api_key_id=call.api_key_id,
        ai_model_id=call.ai_model_id,
        version_id=call.version_id,
        price_id=call.price_id,
        kind=call.kind,
        mode=call.mode,
        hold_nano=call.hold_nano,
        cost_nano=call.cost_nano,
        status=Prediction.Status.SUCCEEDED,
        created_at=at,
        started_at=at,
        completed_at=at,
        deadline_at=at + timedelta(hours=1),
        expires_at=at + timedelta(hours=24),
    )
    prediction.sealed_input = seal_content(prediction, "sealed_input", b'{"text": "K7RT2M"}')
    prediction.sealed_output = seal_content(prediction, "sealed_output", b'{"label": "K7RT2M"}')
    prediction.save(force_insert=True)
    return prediction
