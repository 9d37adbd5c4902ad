"""Reads of uploaded files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

from common.clock import ClockNow
from marketplace.models import PUBLIC_STATUSES

if TYPE_CHECKING:
    from accounts.models import Organization


class FileQuerySet(models.QuerySet):
    def ready(self) -> FileQuerySet:
        """Those that were checked and are shown, in the order in which they came."""
        return self.filter(status="ready").order_by("id")

    def visible_to(self, organization: Organization | None, *, sees_all: bool = False) -> FileQuerySet:
        """Those of public models and of publishers, and the organization's own."""
        if sees_all:
            return self.all()
        seen = Q(ai_model=None) | Q(ai_model__status__in=PUBLIC_STATUSES)
        return self.filter(seen if organization is None else seen | Q(organization=organization))

    def taken(self, organization_id: Any) -> int:
        """Bytes that the organization's files take, and that were promised to those to come."""
        found = self.filter(organization=organization_id).aggregate(bytes=models.Sum("size"))["bytes"]
        return int(found or 0)

    def to_check(self) -> FileQuerySet:
        """Those that have arrived, and that no living worker has."""
        free = Q(leased_until=None) | Q(leased_until__lte=ClockNow())
        return self.filter(free, status="arrived").order_by("id")

    def overdue(self) -> FileQuerySet:
        """Uploads that never came."""
        return self.filter(status="waiting", upload_until__lte=ClockNow())
