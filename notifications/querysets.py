"""Reads over the outbox."""

from __future__ import annotations

from datetime import datetime

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


class WebhookDeliveryQuerySet(models.QuerySet):
    def pending(self) -> WebhookDeliveryQuerySet:
        return self.filter(state="pending")

    def due(self) -> WebhookDeliveryQuerySet:
        """What may be sent now, if its receiver is not left alone."""
        return self.pending().filter(next_attempt_at__lte=ClockNow())

    def overdue(self) -> WebhookDeliveryQuerySet:
        """What nobody tries any more."""
        return self.due().filter(give_up_at__lte=ClockNow())

    def ended_before(self, at: datetime) -> WebhookDeliveryQuerySet:
        return self.exclude(state="pending").filter(ended_at__lt=at)
