"""Reads over the outbox."""

from __future__ import annotations

from django.db import models

from common.clock import ClockNow


class MessageQuerySet(models.QuerySet):
    def pending(self) -> MessageQuerySet:
        return self.filter(state="pending")

    def due(self) -> MessageQuerySet:
        """What may be sent now, the longest waiting first. What a worker has leased is not due until the lease ends."""
        return self.pending().filter(next_attempt_at__lte=ClockNow()).order_by("next_attempt_at", "id")

    def dead(self) -> MessageQuerySet:
        return self.filter(state="dead")
