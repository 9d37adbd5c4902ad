"""Shapes of webhooks."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from notifications.services import shown_secret


class WebhookSecretOut(serializers.Serializer[Any]):
    secret = serializers.SerializerMethodField(help_text="`whsec_` and the key in base64.")

    def get_secret(self, found: dict[str, bytes]) -> str:
        return shown_secret(found["secret"])
