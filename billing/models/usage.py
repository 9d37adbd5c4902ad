"""Metered usage."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing.querysets import UsageEventQuerySet


class UsageEvent(models.Model):
    """One settled call, with its quantities and what it cost. Written by the SQL function `gateway_batch` alone.

    Shares its id with the invocation, and is partitioned by it. Append-only: posted once, into one charge.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    organization = models.ForeignKey(
        "accounts.Organization", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="usage_events"
    )
    publisher = models.ForeignKey(
        "accounts.Organization", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    ai_model = models.ForeignKey(
        "marketplace.AIModel", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="usage_events"
    )
    version_id = models.UUIDField()
    price_id = models.UUIDField()
    mode = models.CharField(max_length=4)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_nano = models.BigIntegerField()
    occurred_at = models.DateTimeField()
    posted_at = models.DateTimeField(null=True, blank=True)
    charge = models.ForeignKey(
        "billing.Charge",
        models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="usage_events",
    )

    objects = UsageEventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(input_tokens__gte=0, output_tokens__gte=0), name="usage_event_quantity_not_negative"
            ),
            models.CheckConstraint(condition=Q(cost_nano__gte=0), name="usage_event_cost_not_negative"),
        ]
        indexes = [
            models.Index(
                fields=["organization", "ai_model", "id"], condition=Q(mode="live"), name="usage_event_of_customer"
            ),
            models.Index(
                fields=["id"], condition=Q(mode="live", posted_at=None, cost_nano__gt=0), name="usage_event_unposted"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
