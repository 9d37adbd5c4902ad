"""Uploaded files. The names that are to be removed from the storage stand in a bare table, `media_removal`."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from common.ids import encode, uuid7
from media.querysets import FileQuerySet

MOST_TRIES = 10  # of checking one file; what ends the worker, or meets no storage, that often is refused


class File(models.Model):
    """A picture or an example that a publisher has uploaded. What is stored of it was written by us, not by them."""

    class Kind(models.TextChoices):
        LOGO = "logo", _("Logo")
        SCREENSHOT = "screenshot", _("Screenshot")
        EXAMPLE = "example", _("Example file")

    class Status(models.TextChoices):
        WAITING = "waiting", _("Waiting for the file")
        ARRIVED = "arrived", _("Being checked")
        READY = "ready", _("Shown")
        REFUSED = "refused", _("Refused")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.CASCADE, related_name="files")
    ai_model = models.ForeignKey(  # none: the logo of the publisher
        "marketplace.AIModel", models.CASCADE, null=True, blank=True, related_name="files"
    )
    kind = models.CharField(max_length=10, choices=Kind)
    status = models.CharField(max_length=8, choices=Status, default=Status.WAITING)
    name = models.CharField(max_length=100)  # as people are offered it
    alt = models.CharField(max_length=200, blank=True)  # what is to be seen, in words
    claimed_type = models.CharField(max_length=40)  # what whoever sent it says; nothing is served by it
    media_type = models.CharField(max_length=40, blank=True)  # what it is, once it was checked
    size = models.PositiveIntegerField()  # bytes that are kept; before that, as many as were promised
    width = models.PositiveIntegerField(null=True)
    height = models.PositiveIntegerField(null=True)
    parts = ArrayField(models.CharField(max_length=12), default=list)  # `480.webp`, or `file`
    stored_as = models.CharField(max_length=80, blank=True)  # the folder of the parts
    refusal = models.CharField(max_length=24, blank=True)  # the code of why not
    tries = models.PositiveSmallIntegerField(default=0)
    leased_until = models.DateTimeField(null=True)  # a worker has it
    upload_until = models.DateTimeField()  # as long its address takes the file
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    ready_at = models.DateTimeField(null=True)

    objects = FileQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=["logo", "screenshot", "example"]), name="file_kind"),
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "arrived", "ready", "refused"]), name="file_status"
            ),
            models.CheckConstraint(condition=Q(ai_model__isnull=False) | Q(kind="logo"), name="file_of_a_model"),
            models.CheckConstraint(
                condition=~Q(status="ready")
                | (~Q(media_type="") & ~Q(stored_as="") & Q(ready_at__isnull=False, parts__len__gt=0)),
                name="file_ready_was_checked",
            ),
            models.CheckConstraint(
                condition=~Q(status="refused") | (Q(size=0, stored_as="") & ~Q(refusal="")),
                name="file_refused_takes_nothing",
            ),
            models.UniqueConstraint(
                fields=["ai_model"], condition=Q(kind="logo", status="ready"), name="file_one_logo_per_model"
            ),
            models.UniqueConstraint(
                fields=["organization"],
                condition=Q(kind="logo", status="ready", ai_model=None),
                name="file_one_logo_per_publisher",
            ),
        ]
        indexes = [
            # What an organization's files take is summed from this alone, with its row locked.
            models.Index(fields=["organization"], include=["size"], name="file_taken"),
            models.Index(fields=["ai_model", "kind", "id"], name="file_of_model"),
            models.Index(F("leased_until"), condition=Q(status="arrived"), name="file_to_check"),
            models.Index(fields=["upload_until"], condition=Q(status="waiting"), name="file_overdue"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        return encode("fil", self.id)

    @property
    def quarantine(self) -> str:
        """The name under which it waits to be checked; nothing is ever served from there."""
        return f"quarantine/{self.id}"

    @property
    def stored(self) -> list[str]:
        """The names of all its parts."""
        return [f"{self.stored_as}/{part}" for part in self.parts] if self.stored_as else []

    @property
    def is_picture(self) -> bool:
        return self.kind != self.Kind.EXAMPLE

    def url_of(self, part: str) -> str:
        """The address of one part, from the root of this site."""
        return reverse("media", args=[self.pk, part if self.is_picture else self.name])
