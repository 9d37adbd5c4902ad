"""Reads of usage."""

from __future__ import annotations

from django.db import models


class UsageEventQuerySet(models.QuerySet):
    def unposted(self) -> UsageEventQuerySet:
        """Settled calls that the ledger does not know yet."""
        return self.filter(posted_at=None)
