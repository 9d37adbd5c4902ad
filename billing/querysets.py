"""Reads of usage, of credit and of the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class UsageEventQuerySet(models.QuerySet):
    def unposted(self) -> UsageEventQuerySet:
        """Settled calls that cost something, which the ledger does not know yet."""
        return self.filter(posted_at=None, mode="live", cost_nano__gt=0)

    def of_customer(self, organization_id: UUID, ai_model_id: UUID) -> UsageEventQuerySet:
        """The organization's settled calls of a model, without those of test keys, which cost nothing."""
        return self.filter(organization=organization_id, ai_model=ai_model_id, mode="live")


class CreditGrantQuerySet(models.QuerySet):
    def expired_at(self, at: datetime) -> CreditGrantQuerySet:
        """Those past their day with something left."""
        return self.filter(expires_at__lte=at, remaining_nano__gt=0)


class LedgerAccountQuerySet(models.QuerySet):
    def balance_of(self, kind: str, organization_id: UUID | None = None) -> int:
        """In nano-units; 0 where no account was opened yet."""
        found = self.filter(kind=kind, organization=organization_id).aggregate(sum=models.Sum("balance_nano"))["sum"]
        return int(found or 0)
