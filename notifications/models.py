"""The outbox: messages to people and webhooks to programs, each a row until it has been handed over."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from common.clock import ClockNow
from common.ids import encode, uuid7
from notifications.querysets import MessageQuerySet, WebhookDeliveryQuerySet


class Message(models.Model):
    """One message to one address. It is pending until it is sent, or dead after its last attempt."""

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        SENT = "sent", _("Sent")
        DEAD = "dead", _("Dead")

    class Channel(models.TextChoices):
        EMAIL = "email", _("E-mail")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=80)  # "accounts.verify_email": the app that has the words, and their name
    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="messages"
    )
    to_address = models.EmailField(max_length=254)
    channel = models.CharField(max_length=10, choices=Channel, default=Channel.EMAIL)
    language = models.CharField(max_length=16)
    payload = models.BinaryField(null=True, blank=True)  # sealed JSON; may hold a code or a link, so erased once sent
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    attempts = models.SmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(
        null=True, blank=True, db_default=ClockNow()
    )  # while sending: end of the lease
    last_error = models.CharField(max_length=300, blank=True)
    dedupe_key = models.CharField(max_length=200, unique=True, null=True, blank=True)  # null: may repeat
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["pending", "sent", "dead"]), name="message_state_known"),
            models.CheckConstraint(condition=Q(channel="email"), name="message_channel_known"),
            models.CheckConstraint(condition=~Q(kind="") & ~Q(to_address=""), name="message_has_kind_and_address"),
            models.CheckConstraint(condition=Q(attempts__gte=0), name="message_attempts_not_negative"),
            models.CheckConstraint(
                condition=Q(state="sent", sent_at__isnull=False) | (~Q(state="sent") & Q(sent_at=None)),
                name="message_sent_at_when_sent",
            ),
            models.CheckConstraint(
                condition=Q(state="sent", payload=None) | (~Q(state="sent") & Q(payload__isnull=False)),
                name="message_payload_until_sent",
            ),
            models.CheckConstraint(
                condition=Q(state="pending", next_attempt_at__isnull=False)
                | (~Q(state="pending") & Q(next_attempt_at=None)),
                name="message_next_attempt_while_pending",
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at", "id"], condition=Q(state="pending"), name="message_due"),
            models.Index(fields=["id"], condition=Q(state="dead"), name="message_dead"),  # what staff look after
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.to_address}"

    @property
    def public_id(self) -> str:
        return encode("msg", self.id)


def payload_context(id: UUID) -> str:
    """What a payload is sealed for: opened for another row it is refused."""
    return f"notifications.Message.payload:{id}"


class WebhookSecret(models.Model):
    """What the webhooks of an organization are signed with; made when it is first needed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.OneToOneField("accounts.Organization", models.CASCADE, related_name="webhook_secret")
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return encode("org", self.organization_id)

    @property
    def context(self) -> str:
        return f"notifications.WebhookSecret.sealed:{self.organization_id}"


class WebhookReceiver(models.Model):
    """Who answers at one origin, for one organization. After failures in a row it is left alone for a while."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.CASCADE, related_name="webhook_receivers")
    origin = models.CharField(max_length=300)
    failures = models.PositiveIntegerField(default=0)  # since it last took something
    blocked_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "origin"], name="webhook_receiver_once"),
        ]

    def __str__(self) -> str:
        return self.origin


class WebhookDelivery(models.Model):
    """One event for one address. It is pending until the receiver took it, or dead, with a reason.

    The id is the event's own: it stays the same however often the event is sent. Address and body are sealed, since
    either may hold what is nobody else's business, and erased when the delivery has ended.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DELIVERED = "delivered", _("Delivered")
        DEAD = "dead", _("Dead")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.CASCADE, related_name="webhook_deliveries")
    receiver = models.ForeignKey(WebhookReceiver, models.CASCADE, db_index=False, related_name="deliveries")
    kind = models.CharField(max_length=60)  # "prediction.succeeded"
    subject = models.CharField(max_length=60)  # the public id of what it is about
    sealed_url = models.BinaryField(null=True, editable=False)
    sealed_body = models.BinaryField(null=True, editable=False)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    attempts = models.SmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # while sending: the end of the lease
    is_leased = models.BooleanField(default=False)
    give_up_at = models.DateTimeField()
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    dedupe_key = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = _("webhook deliveries")
        constraints = [
            models.CheckConstraint(
                condition=Q(state="pending", next_attempt_at__isnull=False, ended_at=None, sealed_body__isnull=False)
                | Q(state__in=["delivered", "dead"], next_attempt_at=None, ended_at__isnull=False, sealed_body=None),
                name="webhook_delivery_pending_or_ended",
            ),
            models.CheckConstraint(condition=Q(attempts__gte=0), name="webhook_delivery_attempts_not_negative"),
            models.CheckConstraint(
                condition=~Q(state="dead") | ~Q(last_error=""), name="webhook_delivery_dead_for_a_reason"
            ),
        ]
        indexes = [
            models.Index(
                fields=["receiver", "next_attempt_at"], condition=Q(state="pending"), name="webhook_delivery_due"
            ),
            models.Index(fields=["ended_at"], condition=~Q(state="pending"), name="webhook_delivery_ended"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("dlv", self.id)

    def context(self, column: str) -> str:
        """What a column is sealed for."""
        return f"notifications.WebhookDelivery.{column}:{self.id}"
