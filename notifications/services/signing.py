"""What webhooks are signed with: one secret for each organization."""

from __future__ import annotations

import base64
import os
from operator import methodcaller
from uuid import UUID

from django.db import IntegrityError, transaction

from common.sealing import count_retired, open_sealed, reseal_column, seal
from notifications.models import WebhookDelivery, WebhookSecret

SECRET_BYTES = 32


def webhook_secret(organization_id: UUID) -> bytes:
    """The organization's secret, made if it has none yet. Whoever asks at the same time gets the same."""
    found = WebhookSecret.objects.filter(organization=organization_id).first()
    if found is None:
        made = WebhookSecret(organization_id=organization_id)
        made.sealed = seal(os.urandom(SECRET_BYTES), made.context)
        try:
            with transaction.atomic():
                made.save(force_insert=True)
            found = made
        except IntegrityError:  # somebody was faster
            found = WebhookSecret.objects.get(organization=organization_id)
    return open_sealed(bytes(found.sealed), found.context)


def shown_secret(secret: bytes) -> str:
    """As its owner's program wants it."""
    return "whsec_" + base64.b64encode(secret).decode()


def reseal_webhooks() -> int:
    """Bring secrets, and what waits to be sent, under the current key-encryption key. Returns how many changed."""
    changed = reseal_column(WebhookSecret.objects.all(), "sealed", lambda secret: secret.context)
    for column in ("sealed_url", "sealed_body"):
        changed += reseal_column(WebhookDelivery.objects.all(), column, methodcaller("context", column))
    return changed


def count_retired_webhooks() -> int:
    """How many of them are not under the current key-encryption key."""
    waiting = sum(count_retired(WebhookDelivery.objects.all(), column) for column in ("sealed_url", "sealed_body"))
    return waiting + count_retired(WebhookSecret.objects.all(), "sealed")
