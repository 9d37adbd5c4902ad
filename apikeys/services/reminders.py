"""Mails that a key is about to expire: seven days before, and one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from apikeys.models import APIKey
from common import clock
from notifications.services import notify

REMIND = (timedelta(days=7), timedelta(days=1))  # before the end
BATCH = 200


def reminder_due(expires_at: datetime | None, at: datetime) -> datetime | None:
    """When the next reminder of a key is due, seen from `at`; None: there is none left."""
    if expires_at is None:
        return None
    return next((expires_at - before for before in REMIND if expires_at - before > at), None)


def send_reminders() -> int:
    """Mail the people whose keys are about to expire; the number of mails.

    Each reminder is mailed once, however often this runs and in however many workers: the mail and the instant of the
    next one are one transaction. Where several were missed, one mail says how long there is left.
    """
    sent = 0
    while True:
        with transaction.atomic():
            at = clock.now()
            due = APIKey.objects.to_remind(at).select_related("user", "organization").order_by("remind_at")
            batch = list(due.select_for_update(of=("self",), skip_locked=True)[:BATCH])
            for key in batch:
                sent += _remind(key, at)
                APIKey.objects.filter(pk=key.pk).update(remind_at=reminder_due(key.expires_at, at))
        if len(batch) < BATCH:
            return sent


def _remind(key: APIKey, at: datetime) -> bool:
    assert key.expires_at is not None  # a constraint says so
    if key.expires_at <= at or not key.user.is_active or key.organization.closed_at is not None:
        return False
    if not key.organization.memberships.filter(user=key.user).exists():
        return False
    left = key.expires_at - at
    days = max(1, round(left / timedelta(days=1)))
    notify(
        to=key.user.email,
        kind="apikeys.expiring",
        payload={
            "name": key.user.name,
            "key_name": key.name,
            "key": str(key),
            "organization": key.organization.name,
            "days": days,
            "expires_at": f"{key.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            "last_used": "" if key.last_used_at is None else f"{key.last_used_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            "client": key.last_used_client,
            "url": settings.SITE_URL + reverse("key", kwargs={"id": key.id}),
        },
        recipient=key.user,
        dedupe_key=f"key-expiry:{key.id}:{key.expires_at.isoformat()}:{days}",
    )
    return True
