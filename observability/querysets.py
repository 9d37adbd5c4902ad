"""Every read of the logs that has a name."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.db import models

from common.ids import first_uuid

if TYPE_CHECKING:
    from observability.models import AuditEvent, RequestLog  # noqa: F401


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Newest first by `seq`: the order in which the database sealed them."""

    def of_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)

    def about(self, user_id: UUID) -> Self:
        """A person's security log."""
        return self.filter(subject_user_id=user_id)


class RequestLogQuerySet(models.QuerySet["RequestLog"]):
    """A span of time is a span of ids, which lets the database leave out the partitions of other days."""

    def of_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)

    def since(self, at: datetime) -> Self:
        return self.filter(id__gte=first_uuid(at))

    def before(self, at: datetime) -> Self:
        return self.filter(id__lt=first_uuid(at))

    def failed(self) -> Self:
        return self.filter(status__gte=400)
