"""What customers were charged for their calls, and which credit paid for it."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from billing.querysets import CreditGrantQuerySet
from common.ids import encode, uuid7


class Charge(models.Model):
    """The calls of one customer on one version of one model at one price and day, as far as they were posted together.

    Keeps the facts of an invoice's line when the calls' partitions are long dropped. Written by `billing_post_usage`
    alone; its id is that of its first call.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    transaction = models.ForeignKey("billing.LedgerTransaction", models.PROTECT, related_name="charges")
    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="charges", db_index=False)
    publisher = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="+", db_index=False)
    ai_model = models.ForeignKey("marketplace.AIModel", models.PROTECT, related_name="charges")
    version_id = models.UUIDField()
    price_id = models.UUIDField()
    day = models.DateField()  # UTC, of the settlements
    calls = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    amount_nano = models.BigIntegerField()
    fee_nano = models.BigIntegerField()  # the platform's part of the amount
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(fee_nano__gte=0, fee_nano__lte=F("amount_nano")), name="charge_fee_within_its_amount"
            ),
            models.CheckConstraint(
                condition=Q(calls__gt=0, amount_nano__gt=0, input_tokens__gte=0, output_tokens__gte=0),
                name="charge_is_of_something",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "day", "id"], name="charge_of_customer"),
            models.Index(fields=["publisher", "day", "id"], name="charge_of_publisher"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("chg", self.id)


class CreditGrant(models.Model):
    """Credit that an organization received at once: bought or given, perhaps until a day.

    Used in order of priority (the lowest number first), then what ends soonest, then the oldest. `remaining_nano` goes
    down as charges are posted, and to zero when it ends. Written by SQL functions alone.
    """

    class Source(models.TextChoices):
        WELCOME = "welcome", _("Welcome credit")
        GIVEN = "given", _("Given by staff")
        PURCHASED = "purchased", _("Purchased")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="grants", db_index=False)
    source = models.CharField(max_length=12, choices=Source)
    key = models.CharField(max_length=200, unique=True)
    reason = models.CharField(max_length=500, blank=True)
    amount_nano = models.BigIntegerField()
    remaining_nano = models.BigIntegerField()
    ended_nano = models.BigIntegerField(default=0)  # of it expired or taken back
    priority = models.SmallIntegerField(default=100)
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = CreditGrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_nano__gt=0), name="credit_grant_of_something"),
            models.CheckConstraint(
                condition=Q(remaining_nano__gte=0, ended_nano__gte=0)
                & Q(amount_nano__gte=F("remaining_nano") + F("ended_nano")),
                name="credit_grant_within_its_amount",
            ),
            models.CheckConstraint(condition=Q(ended_at=None) | Q(remaining_nano=0), name="credit_grant_ends_empty"),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("granted_at")), name="credit_grant_lasts"
            ),
            models.CheckConstraint(
                condition=Q(source__in=["welcome", "given", "purchased"]), name="credit_grant_source"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "id"], name="credit_grant_of_organization"),
            models.Index(fields=["expires_at"], name="credit_grant_due", condition=Q(remaining_nano__gt=0)),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("grant", self.id)


class GrantUse(models.Model):
    """What one posting took from one grant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    grant = models.ForeignKey(CreditGrant, models.PROTECT, related_name="uses", db_index=False)
    transaction = models.ForeignKey("billing.LedgerTransaction", models.PROTECT, related_name="grant_uses")
    amount_nano = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["grant", "transaction"], name="grant_use_once_per_posting"),
            models.CheckConstraint(condition=Q(amount_nano__gt=0), name="grant_use_of_something"),
        ]

    def __str__(self) -> str:
        return f"{self.amount_nano} of {self.grant_id}"
