"""The logs as the API shows them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.ids import encode
from common.pagination import PageQuery
from common.rest import CharField, DateTimeField, Serializer, TypeIDField
from observability.models import AuditEvent
from observability.services.words import target_of


class AuditQuery(PageQuery):
    action = CharField(required=False, max_length=60, help_text="Such as `key.revoked`.")
    person = TypeIDField("usr", required=False, help_text="Who did it.")
    since = DateTimeField(required=False)
    until = DateTimeField(required=False)


class ActorOut(Serializer):
    """Who did it. Without a user it was the site itself, or somebody who was not known yet."""

    user_id = serializers.SerializerMethodField()
    key_id = serializers.SerializerMethodField()

    def get_user_id(self, event: AuditEvent) -> str | None:
        return encode("usr", event.actor_user_id) if event.actor_user_id else None

    def get_key_id(self, event: AuditEvent) -> str | None:
        return encode("key", event.actor_key_id) if event.actor_key_id else None


class TargetOut(Serializer):
    """What it was done to."""

    type = serializers.SerializerMethodField()
    id = serializers.SerializerMethodField()

    def get_type(self, event: AuditEvent) -> str | None:
        return target_of(event)[0] or None

    def get_id(self, event: AuditEvent) -> str | None:
        return target_of(event)[1] or None


class AuditEventOut(Serializer):
    """One event. `before` and `after` say what changed, without secrets; `seq` and `hash`, its place in the chain."""

    id = TypeIDField("evt")
    seq = serializers.IntegerField()
    at = DateTimeField()
    action = CharField()
    actor = ActorOut(source="*")
    target = TargetOut(source="*")
    before = serializers.SerializerMethodField()
    after = serializers.SerializerMethodField()
    address = CharField()
    client = CharField()
    request_id = serializers.SerializerMethodField()
    hash = CharField()

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_before(self, event: AuditEvent) -> Any:
        return event.before

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_after(self, event: AuditEvent) -> Any:
        return event.after

    def get_request_id(self, event: AuditEvent) -> str | None:
        return encode("req", event.request_id) if event.request_id else None
