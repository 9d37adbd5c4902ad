"""Every read of the logs that has a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.db import models

if TYPE_CHECKING:
    from observability.models import AuditEvent  # noqa: F401


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Newest first by `seq`: the order in which the database sealed them."""

    def of_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)

    def about(self, user_id: UUID) -> Self:
        """A person's security log."""
        return self.filter(subject_user_id=user_id)
