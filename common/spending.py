"""Spend limits as the API reads and writes them, whatever they are set on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.rest import MoneyField

WINDOWS = ("day", "week", "month", "lifetime")
USUAL_WINDOW = "month"


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """What a subject may spend in one of `WINDOWS`."""

    limit_nano: int
    window: str = USUAL_WINDOW


class Limited(Protocol):
    """A row that holds a limit: nano-units of the instance's currency, in a window."""

    limit: int
    window: str


@extend_schema_field(
    {
        "type": "object",
        "required": ["amount"],
        "properties": {
            "amount": {"type": "string", "examples": ["5.00"]},
            "currency": {"type": "string", "examples": ["USD"]},
            "window": {"type": "string", "enum": list(WINDOWS), "default": USUAL_WINDOW},
        },
    }
)
class SpendLimitField(serializers.Field[Any, Any, dict[str, str], Any]):
    """`{"amount": "5.00", "currency": "USD", "window": "month"}`; in a `SpendLimit`, out of a `Limited`."""

    default_error_messages = {"window": "One of day, week, month, lifetime."}
    amount = MoneyField()

    def to_internal_value(self, data: Any) -> SpendLimit:
        window: Any = USUAL_WINDOW
        if isinstance(data, Mapping):
            data = dict(data)
            window = data.pop("window", window)
        faults = {}
        if window not in WINDOWS:
            faults["window"] = [serializers.ErrorDetail(str(self.error_messages["window"]), code="invalid_choice")]
        try:
            limit_nano = self.amount.to_internal_value(data)
        except serializers.ValidationError as error:
            if not isinstance(error.detail, dict):
                raise
            raise serializers.ValidationError({**error.detail, **faults}) from error
        if faults:
            raise serializers.ValidationError(faults)
        return SpendLimit(limit_nano=limit_nano, window=window)

    def to_representation(self, value: Limited) -> dict[str, str]:
        limit = self.amount.to_representation(value.limit)
        return {"amount": limit["amount"], "currency": limit["currency"], "window": value.window}
