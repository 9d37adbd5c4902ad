"""Credentials for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from apikeys.querysets import APIKeyQuerySet
from common.ids import encode, uuid7

if TYPE_CHECKING:
    from datetime import datetime

#: Every permission a key can carry.
PERMISSIONS = (
    "models:read",
    "models:write",
    "models:invoke",
    "reviews:write",
    "deployments:read",
    "deployments:write",
    "keys:read",
    "keys:write",
    "analytics:read",
    "billing:read",
    "billing:write",
    "webhooks:read",
    "webhooks:write",
)
DEFAULT_PERMISSIONS = ("models:read", "models:invoke")

#: What a key may do at most while the person who made it has this role in the organization.
SCOPES_OF_ROLE = {
    "owner": frozenset(PERMISSIONS),
    "admin": frozenset(PERMISSIONS),
    "developer": frozenset(PERMISSIONS) - {"billing:write"},
    "billing": frozenset({"models:read", "keys:read", "analytics:read", "billing:read", "billing:write"}),
    "member": frozenset(
        {
            "models:read",
            "models:invoke",
            "reviews:write",
            "deployments:read",
            "keys:read",
            "keys:write",
            "analytics:read",
        }
    ),
}


def scopes_of_role(role: str) -> frozenset[str]:
    """The most that a key of someone with this role grants; nothing for a role that is not in the table."""
    return SCOPES_OF_ROLE.get(role, frozenset())


class APIKey(models.Model):
    """A key of an organization, made by one of its people. The secret is shown once; only a keyed hash is stored.

    While a rotation overlaps, `previous_digest` is accepted until `overlap_until`.
    """

    class Mode(models.TextChoices):
        LIVE = "live", _("Live")
        TEST = "test", _("Test")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="api_keys")
    user = models.ForeignKey("accounts.User", models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=80)
    mode = models.CharField(max_length=4, choices=Mode, default=Mode.LIVE)
    prefix = models.CharField(max_length=16)  # "agr_live_7Qx2": what a person recognises it by
    last_four = models.CharField(max_length=4)
    digest = models.BinaryField(max_length=32, unique=True)
    pepper_id = models.CharField(max_length=32)  # the newest pepper in the digest
    previous_digest = models.BinaryField(max_length=32, null=True, blank=True, unique=True)
    overlap_until = models.DateTimeField(null=True, blank=True)
    permissions = ArrayField(models.CharField(max_length=24))
    allowed_models = ArrayField(models.UUIDField(), default=list, blank=True)  # empty: all
    allowed_ips = ArrayField(models.CharField(max_length=49), default=list, blank=True)  # CIDR; empty: all
    rate_limit = models.PositiveIntegerField(null=True, blank=True)  # calls a minute; null: the default
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    remind_at = models.DateTimeField(null=True, blank=True)  # when the next mail about its end is due
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_address = models.CharField(max_length=45, blank=True, db_default="")
    last_used_client = models.CharField(max_length=60, blank=True, db_default="")  # "openai-python 3.54.0"
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="api_key_name_not_empty"),
            models.CheckConstraint(condition=Q(mode__in=["live", "test"]), name="api_key_mode"),
            models.CheckConstraint(condition=Q(permissions__len__gt=0), name="api_key_has_a_permission"),
            models.CheckConstraint(
                condition=Q(permissions__contained_by=list(PERMISSIONS)), name="api_key_permissions_are_known"
            ),
            models.CheckConstraint(condition=Q(rate_limit=None) | Q(rate_limit__gt=0), name="api_key_rate_limit"),
            models.CheckConstraint(
                condition=Q(previous_digest=None, overlap_until=None)
                | Q(previous_digest__isnull=False, overlap_until__isnull=False),
                name="api_key_overlap_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(previous_digest=None) | ~Q(previous_digest=F("digest")), name="api_key_rotation_changes_it"
            ),
            models.CheckConstraint(
                condition=Q(remind_at=None) | Q(expires_at__isnull=False), name="api_key_reminder_of_an_end"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="api_key_of_organization"),
            models.Index(fields=["remind_at"], name="api_key_to_remind", condition=Q(remind_at__isnull=False)),
            models.Index(fields=["pepper_id"], name="api_key_of_pepper"),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four}"

    @property
    def public_id(self) -> str:
        return encode("key", self.id)

    def effective_scopes(self, role: str) -> frozenset[str]:
        """What the key grants while the person who made it has this role in the organization."""
        return frozenset(self.permissions) & scopes_of_role(role)

    def is_expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at


class KeyClient(models.Model):
    """A program that used a key from an address, lately. A few of each key are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    key = models.ForeignKey(APIKey, models.CASCADE, related_name="clients", db_index=False)
    client = models.CharField(max_length=60, blank=True)
    address = models.CharField(max_length=45, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "client", "address"], name="client_once_per_key")]
        indexes = [
            models.Index(fields=["key", "-last_seen_at"], name="client_of_key"),
            models.Index(fields=["last_seen_at"], name="client_by_last_use"),
        ]

    def __str__(self) -> str:
        return f"{self.client or '?'} {self.address}"


class LeakReport(models.Model):
    """A report of leaked keys that was received, so that it counts once. No secret is kept of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    partner = models.CharField(max_length=100)
    body_hash = models.BinaryField(max_length=32, unique=True)
    leaks = models.PositiveIntegerField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["received_at"], name="leak_report_by_age")]

    def __str__(self) -> str:
        return f"{self.partner} {self.received_at:%Y-%m-%d %H:%M}"
