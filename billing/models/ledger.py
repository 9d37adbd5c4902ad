"""The ledger: accounts, transactions of at least two entries, and nothing that is ever edited."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from billing.querysets import LedgerAccountQuerySet
from common.ids import encode, uuid7


class LedgerAccount(models.Model):
    """A pot of money: an organization's, or one of the platform's. Amounts are nano-units of `currency`.

    Signs are those of a platform that keeps other people's money: what it owes (credit, earnings, taxes) and what it
    has earned is positive, what it has or has given away is negative. All accounts of a currency add up to zero.
    `balance_nano` is kept by a trigger on the entries; nobody else may write it. See migration 0003.
    """

    class Kind(models.TextChoices):
        CREDIT = "credit", _("Credit")  # of a customer: paid in advance or given, not yet used
        RECEIVABLE = "receivable", _("Receivable")  # of a customer: invoiced, not yet paid; negative
        PAYABLE = "payable", _("Payable")  # of a publisher: earned, not yet paid out
        FEES = "fees", _("Platform fees")
        TAXES = "taxes", _("Taxes")
        PROMOTIONS = "promotions", _("Promotions")  # credit that was given, not bought; negative
        CLEARING = "clearing", _("Clearing")  # what a payment processor has of ours; negative until it is settled
        BANK = "bank", _("Bank")  # negative: the platform has it
        BREAKAGE = "breakage", _("Expired credit")  # bought and never used

    OF_ORGANIZATIONS = (Kind.CREDIT, Kind.RECEIVABLE, Kind.PAYABLE)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=12, choices=Kind)
    organization = models.ForeignKey(
        "accounts.Organization", models.PROTECT, null=True, blank=True, related_name="ledger_accounts"
    )
    currency = models.CharField(max_length=3)
    balance_nano = models.BigIntegerField(default=0)
    floor_nano = models.BigIntegerField(null=True, blank=True)  # the balance never goes below; null: no floor
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = LedgerAccountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "organization", "currency"], nulls_distinct=False, name="ledger_account_once"
            ),
            models.CheckConstraint(
                condition=Q(
                    kind__in=[
                        *("credit", "receivable", "payable", "fees", "taxes"),
                        *("promotions", "clearing", "bank", "breakage"),
                    ]
                ),
                name="ledger_account_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["credit", "receivable", "payable"], organization__isnull=False)
                | (~Q(kind__in=["credit", "receivable", "payable"]) & Q(organization=None)),
                name="ledger_account_of_an_organization_or_of_the_platform",
            ),
            models.CheckConstraint(
                condition=Q(floor_nano=None) | Q(balance_nano__gte=F("floor_nano")),
                name="ledger_account_above_its_floor",
            ),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="ledger_account_currency"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.organization.slug}" if self.organization else self.kind


class LedgerTransaction(models.Model):
    """Something that happened to money, once: `key` is derived from the facts behind it, so a repeat finds it.

    A mistake is never edited: another transaction reverses it.
    """

    class Kind(models.TextChoices):
        USAGE = "usage", _("Usage")
        GRANT = "grant", _("Credit granted")
        GRANT_ENDED = "grant_ended", _("Credit ended")
        ADJUSTMENT = "adjustment", _("Adjustment")
        REVERSAL = "reversal", _("Reversal")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    key = models.CharField(max_length=200, unique=True)
    memo = models.CharField(max_length=500, blank=True)
    reverses = models.OneToOneField("self", models.PROTECT, null=True, blank=True, related_name="reversed_by")
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(key=""), name="ledger_transaction_has_a_key"),
            models.CheckConstraint(
                condition=Q(kind__in=["usage", "grant", "grant_ended", "adjustment", "reversal"]),
                name="ledger_transaction_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind="reversal", reverses__isnull=False) | (~Q(kind="reversal") & Q(reverses=None)),
                name="ledger_transaction_reverses_or_not",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("txn", self.id)


class LedgerEntry(models.Model):
    """One leg of a transaction. What enters an account is positive, what leaves it negative, and never zero."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    transaction = models.ForeignKey(LedgerTransaction, models.PROTECT, related_name="entries", db_index=False)
    account = models.ForeignKey(LedgerAccount, models.PROTECT, related_name="entries", db_index=False)
    amount_nano = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["transaction", "account"], name="ledger_entry_once_per_account"),
            models.CheckConstraint(condition=~Q(amount_nano=0), name="ledger_entry_moves_something"),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="ledger_entry_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.amount_nano:+d} on {self.account_id}"
