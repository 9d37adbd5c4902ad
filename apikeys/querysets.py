"""Reads of API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from datetime import datetime

    from accounts.models import Organization


class APIKeyQuerySet(models.QuerySet):
    def of_organization(self, organization: Organization) -> APIKeyQuerySet:
        return self.filter(organization=organization)

    def usable(self, at: datetime) -> APIKeyQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=at), revoked_at=None)
