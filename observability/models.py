"""What happened: the audit log, one row per act that mattered."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import encode, uuid7
from observability.querysets import AuditEventQuerySet


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
