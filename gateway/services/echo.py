"""The built-in model of test keys: it says what it is told, over no network and for nothing.

Its calls are rows like all others, so it has a publisher, a listing, a version and a price, made when it is called for
the first time. The listing is a draft: it is in no catalogue, and live keys do not find it.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import Organization
from common import clock
from marketplace.models import AIModel, ModelVersion, Price

ECHO_SLUG = "agorai/echo"
ECHO_ID = UUID("00000000-0000-7000-8000-00000000ec40")  # of all its rows


def ensure_echo() -> Price:
    """The price of the echo, with its model; made with all that belongs to it if there is none yet."""
    found = Price.objects.select_related("ai_model").filter(pk=ECHO_ID).first()
    return found if found is not None else _make()


@transaction.atomic
def _make() -> Price:
    publisher, slug = ECHO_SLUG.split("/")
    is_free = not Organization.objects.filter(slug=publisher).exclude(pk=ECHO_ID).exists()
    Organization.objects.get_or_create(
        pk=ECHO_ID, defaults={"slug": publisher if is_free else f"{publisher}-echo", "name": "Agorai"}
    )
    ai_model, _ = AIModel.objects.get_or_create(
        pk=ECHO_ID,
        defaults={
            "publisher_id": ECHO_ID,
            "slug": slug,
            "name": "Echo",
            "description": "Answers test keys with what it is sent.",
            "category": "other",
            "test_enabled": True,
        },
    )
    ModelVersion.objects.get_or_create(pk=ECHO_ID, defaults={"ai_model": ai_model, "version": "1.0.0"})
    AIModel.objects.filter(pk=ECHO_ID, current_version=None).update(current_version=ECHO_ID)
    price, _ = Price.objects.get_or_create(
        pk=ECHO_ID,
        defaults={
            "ai_model": ai_model,
            "type": Price.Type.FREE,
            "currency": settings.CURRENCY,
            "effective_from": clock.now(),
        },
    )
    return price
