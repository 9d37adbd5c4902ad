"""Keys as the API reads and writes them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apikeys import services
from apikeys.models import DEFAULT_PERMISSIONS, PERMISSIONS, APIKey
from common.rest import CharField, DateTimeField, IntegerField, Serializer, TypeIDField, nearest
from common.spending import SpendLimitField


class PermissionField(CharField):
    """One of `PERMISSIONS`."""

    default_error_messages = {"unknown_permission": "There is no permission “{given}”. {meant}"}

    def to_internal_value(self, data: Any) -> str:
        given = super().to_internal_value(data)
        if given not in PERMISSIONS:
            meant = nearest(given, PERMISSIONS)
            self.fail(
                "unknown_permission",
                given=given[:40],
                meant=f"Did you mean “{meant}”?" if meant else f"Valid: {', '.join(PERMISSIONS)}.",
            )
        return given


class KeyPatch(Serializer):
    """What of a key can be changed."""

    name = CharField(max_length=services.MAX_NAME_LENGTH, required=False)
    permissions = serializers.ListField(
        child=PermissionField(), min_length=1, max_length=len(PERMISSIONS), required=False
    )
    expires_at = DateTimeField(required=False, allow_null=True)
    allowed_models = serializers.ListField(
        child=CharField(max_length=120), max_length=services.MAX_ALLOWED, required=False
    )
    allowed_ips = serializers.ListField(child=CharField(max_length=49), max_length=services.MAX_ALLOWED, required=False)
    rate_limit = IntegerField(min_value=1, max_value=services.MAX_RATE_LIMIT, required=False, allow_null=True)
    spend_limit = SpendLimitField(required=False, allow_null=True)


class KeyIn(KeyPatch):
    name = CharField(max_length=services.MAX_NAME_LENGTH)
    permissions = serializers.ListField(
        child=PermissionField(), min_length=1, max_length=len(PERMISSIONS), default=list(DEFAULT_PERMISSIONS)
    )
    mode = serializers.ChoiceField(choices=APIKey.Mode.choices, default=APIKey.Mode.LIVE)


class RotateIn(Serializer):
    overlap_seconds = IntegerField(
        min_value=0, max_value=services.MAX_OVERLAP_SECONDS, default=services.DEFAULT_OVERLAP_SECONDS
    )


class UsedFromOut(Serializer):
    """What used the key last, as it calls itself, and from where."""

    address = CharField(source="last_used_address")
    client = CharField(source="last_used_client")


class KeyOut(Serializer):
    """A key without its secret. Needs `spend_limits` in the context: key id -> the budget that limits it."""

    id = TypeIDField("key")
    user_id = TypeIDField("usr")
    organization_id = TypeIDField("org")
    name = CharField()
    prefix = CharField()
    last_four = CharField()
    permissions = serializers.ListField(child=CharField())
    mode = CharField()
    last_used = DateTimeField(source="last_used_at", allow_null=True)
    last_used_from = serializers.SerializerMethodField()
    created_at = DateTimeField()
    expires_at = DateTimeField(allow_null=True)
    revoked_at = DateTimeField(allow_null=True)
    allowed_models = serializers.ListField(child=TypeIDField("mdl"))
    allowed_ips = serializers.ListField(child=CharField())
    rate_limit = IntegerField(allow_null=True)
    spend_limit = serializers.SerializerMethodField()

    @extend_schema_field(UsedFromOut(allow_null=True))
    def get_last_used_from(self, key: APIKey) -> Any:
        return None if key.last_used_at is None else UsedFromOut(key).data

    def get_spend_limit(self, key: APIKey) -> dict[str, str] | None:
        budget = self.context["spend_limits"].get(key.id)
        return None if budget is None else SpendLimitField().to_representation(budget)


class NewKeyOut(KeyOut):
    """A key with its secret, which is shown this once."""

    key = serializers.SerializerMethodField(help_text="The secret. It is shown this once.")

    def get_key(self, key: APIKey) -> str:
        return self.context["secret"]


class RotatedKeyOut(NewKeyOut):
    overlap_until = DateTimeField(allow_null=True, help_text="Until when the old secret works; null: it has ended.")


class LeakIn(Serializer):
    """A secret that was found. Partners send more about it, which is not read."""

    token = CharField(max_length=1000, trim_whitespace=False)
    type = CharField(max_length=200, required=False, allow_blank=True)
    url = CharField(max_length=4000, required=False, allow_blank=True, allow_null=True)


class LeakOut(serializers.Serializer[Any]):
    """What a found secret was. It is named by its hash: the answer holds no secret."""

    token_hash = serializers.CharField(help_text="SHA-256 of the token, in base64.")
    token_type = serializers.CharField()
    label = serializers.ChoiceField(choices=["true_positive", "false_positive"])  # type: ignore[assignment]
