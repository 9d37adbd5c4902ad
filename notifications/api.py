"""What a program needs to know to take the site's webhooks."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.rest import APIView
from notifications.serializers import WebhookSecretOut
from notifications.services import webhook_secret


class WebhookSecret(APIView):
    """What the webhooks of the organization are signed with, as Standard Webhooks has it."""

    @extend_schema(operation_id="get_webhook_secret", responses=WebhookSecretOut)
    def get(self, request: Request) -> Response:
        """The same each time; it is made when it is first asked for, or first needed."""
        return Response(WebhookSecretOut({"secret": webhook_secret(self.actor.organization.pk)}).data)
