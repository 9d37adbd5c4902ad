"""Reads of API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Count, F, Q

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from accounts.models import Organization


class APIKeyQuerySet(models.QuerySet):
    def of_organization(self, organization: Organization) -> APIKeyQuerySet:
        return self.filter(organization=organization)

    def usable(self, at: datetime) -> APIKeyQuerySet:
        """Keys that are neither revoked nor expired, and whose maker is still there and in the organization."""
        is_there = Q(user__is_active=True, user__memberships__organization=F("organization"))
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=at), is_there, revoked_at=None)

    def to_remind(self, at: datetime) -> APIKeyQuerySet:
        """Keys whose people are to be told now that they expire."""
        return self.filter(remind_at__lte=at, revoked_at=None)

    def count_by_mode(self) -> dict[str, int]:
        """How many live and test keys there are; a mode without keys is left out."""
        return dict(self.order_by().values_list("mode").annotate(Count("id")))

    def with_digest(self, digests: Sequence[bytes]) -> APIKeyQuerySet:
        """Keys whose secret, or the one before its rotation, has one of these digests."""
        return self.filter(Q(digest__in=digests) | Q(previous_digest__in=digests))
