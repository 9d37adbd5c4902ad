"""The outbox: messages to people, each a row until it has been handed over."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from common.clock import ClockNow
from common.ids import encode, uuid7
from notifications.querysets import MessageQuerySet


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
