"""Reads of usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from uuid import UUID


class UsageEventQuerySet(models.QuerySet):
    def unposted(self) -> UsageEventQuerySet:
        """Settled calls that the ledger does not know yet."""
        return self.filter(posted_at=None)

    def of_customer(self, organization_id: UUID, ai_model_id: UUID) -> UsageEventQuerySet:
        """The organization's settled calls of a model, without those of test keys, which cost nothing."""
        return self.filter(organization=organization_id, ai_model=ai_model_id, mode="live")
