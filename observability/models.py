"""What happened: a row in the audit log for each act that mattered, and in the request log for each API request; and
the answers of requests that are to happen once."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.clock import ClockNow
from common.ids import encode, uuid7
from observability.querysets import AuditEventQuerySet, RequestLogQuerySet


class AuditEvent(models.Model):
    """One link of a chain. Rows are added by `services.record` alone; nobody changes or removes one.

    The database sets `at` when the row is written, and at the commit `seq`, `previous_hash` and `hash`: until then
    `seq` is negative, which only the writing transaction sees. Ids instead of foreign keys: the event outlives its
    actor and its target. A target with a numeric key has that number as its UUID.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    seq = models.BigIntegerField(unique=True, db_default=0, editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False)
    actor_user_id = models.UUIDField(null=True)
    actor_key_id = models.UUIDField(null=True)
    organization_id = models.UUIDField(null=True)
    subject_user_id = models.UUIDField(null=True)
    action = models.CharField(max_length=60)
    target_type = models.CharField(max_length=40, blank=True)
    target_id = models.UUIDField(null=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    address = models.CharField(max_length=45, blank=True)
    client = models.CharField(max_length=200, blank=True)
    request_id = models.UUIDField(null=True)
    previous_hash = models.CharField(max_length=64, db_default="", editable=False)
    hash = models.CharField(max_length=64, db_default="", editable=False)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(action__regex=r"^[a-z_]+(\.[a-z_]+)+$"), name="audit_event_action"),
        ]
        indexes = [
            models.Index(fields=["organization_id", "-seq"], name="audit_of_organization"),
            models.Index(fields=["organization_id", "action", "-seq"], name="audit_of_organization_by_act"),
            models.Index(fields=["subject_user_id", "-seq"], name="audit_of_subject"),
            models.Index(fields=["actor_user_id", "-seq"], name="audit_of_actor"),
            models.Index(fields=["target_id", "-seq"], name="audit_of_target"),
            models.Index(fields=["action", "-seq"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {encode('evt', self.id)}"


class RequestLog(models.Model):
    """One request to `/api` or `/v1`: who, what address, how it ended. Never its query, headers or body.

    The table is partitioned by day through `id`, which is the request's id; `services.rotate_request_log` drops old
    days. `at` is the instant in the id. Ids instead of foreign keys: nothing waits for a row here.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    at = models.DateTimeField()
    actor_user_id = models.UUIDField(null=True)
    actor_key_id = models.UUIDField(null=True)
    organization_id = models.UUIDField(null=True)
    method = models.CharField(max_length=10)
    route = models.CharField(max_length=60, blank=True)
    status = models.PositiveSmallIntegerField()
    ms = models.PositiveIntegerField()
    error_code = models.CharField(max_length=40, blank=True)
    address = models.CharField(max_length=45, blank=True)
    client = models.CharField(max_length=200, blank=True)

    objects = RequestLogQuerySet.as_manager()

    class Meta:
        verbose_name = "API request"
        indexes = [
            models.Index(fields=["organization_id", "-id"], name="request_of_organization"),
            models.Index(fields=["organization_id", "route", "-id"], name="request_of_organization_route"),
            models.Index(
                fields=["organization_id", "-id"], condition=Q(status__gte=400), name="request_failed_of_organization"
            ),
            models.Index(fields=["actor_key_id", "-id"], name="request_of_key"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("req", self.id)


class IdempotencyKey(models.Model):
    """A key under which an organization sent a request, held by one request at a time, for a day.

    `id` is the request's. Nothing here says whether it has ended: that is read off its call, which cannot disagree with
    itself. The answer is there before the call is settled, and counts only if the call was delivered; without a call it
    counts by itself. Of the key there is a hash alone, since some will send a secret in its place. Ids instead of
    foreign keys: nothing waits for a row.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization_id = models.UUIDField()
    key_hash = models.BinaryField(max_length=32, editable=False)
    fingerprint = models.BinaryField(max_length=32, editable=False)  # of the request: method, path, mode and body
    call_id = models.UUIDField(null=True)  # that the request made, or made last; null: the answer is not a call's
    claimed_at = models.DateTimeField(db_default=ClockNow(), editable=False)
    sealed_answer = models.BinaryField(null=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "key_hash"], name="idempotency_key_held_once"),
        ]
        indexes = [models.Index(fields=["claimed_at"], name="idempotency_key_by_age")]  # for the sweep

    def __str__(self) -> str:
        return encode("req", self.id)
