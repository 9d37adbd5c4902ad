"""/api/audit-events."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import page_response
from common.rest import APIView
from observability.models import AuditEvent
from observability.serializers import AuditEventOut, AuditQuery


class AuditEvents(APIView):
    query = {"GET": AuditQuery}

    @extend_schema(operation_id="list_audit_events", responses=AuditEventOut(many=True))
    def get(self, request: Request) -> Response:
        """What was done in the organization, the newest first. For owners and administrators."""
        events = AuditEvent.objects.of_organization(self.actor.organization.pk)
        columns = {"action": "action", "person": "actor_user_id", "since": "at__gte", "until": "at__lt"}
        given = {column: self.params[name] for name, column in columns.items() if name in self.params}
        return page_response(self, events.filter(**given), order=["-seq"], serialize=AuditEventOut)
