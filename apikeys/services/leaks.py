"""Reports that secrets of keys were found in public: who may send them, and what follows.

A report is signed as in GitHub's secret scanning partner programme: ECDSA on P-256 with SHA-256 over the body as it
was sent. Nobody is asked over the network for a partner's key; the operator names them. A report counts once: what was
received is remembered by its hash for longer than anybody keeps one in flight.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.db import transaction
from django.urls import reverse

from apikeys.errors import KeyMalformed, ReportNotSigned, ReportReplayed
from apikeys.models import APIKey, LeakReport
from apikeys.services.digests import candidate_digests
from apikeys.services.keys import revoke_key
from common import clock
from common.clock import ClockNow
from common.logs import mask
from notifications.services import notify
from observability.services import record

logger = structlog.get_logger(__name__)

MAX_AGE = timedelta(minutes=5)  # of a report that says when it was signed
REMEMBERED = timedelta(days=400)
MAX_SIGNATURE = 200  # characters; one on P-256 has 96
MAX_PLACE = 300


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret that somebody found, and where."""

    token: str
    type: str = ""
    url: str = ""


def require_signature(raw: bytes, *, key_id: str, signature: str, timestamp: str | None = None) -> str:
    """The partner whose report this is. timestamp: seconds since 1970 of a report that signs `<timestamp>.<body>`.

    Raises ReportNotSigned, which never says what was wrong.
    """
    key: ec.EllipticCurvePublicKey | None = settings.LEAK_REPORT_KEYS.get(key_id)
    if key is None:
        raise ReportNotSigned()
    try:
        given = base64.b64decode(signature[:MAX_SIGNATURE], validate=True)
        signed = raw if timestamp is None else timestamp.encode() + b"." + raw
        key.verify(given, signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        raise ReportNotSigned() from None
    if timestamp is not None and not _is_fresh(timestamp):
        raise ReportNotSigned()
    return key_id


def _is_fresh(timestamp: str) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return abs(clock.now() - datetime.fromtimestamp(int(timestamp), UTC)) <= MAX_AGE


@transaction.atomic
def accept_report(raw: bytes, leaks: Sequence[Leak], *, partner: str) -> list[bool]:
    """End every key whose secret was found, and tell its person; of each leak, whether it was one of ours.

    raw: the signed body. Raises ReportReplayed for one that was received before; then nothing happens.
    """
    _, is_new = LeakReport.objects.get_or_create(
        body_hash=hashlib.sha256(raw).digest(), defaults={"partner": partner, "leaks": len(leaks)}
    )
    if not is_new:
        raise ReportReplayed()
    found = [_end(leak, partner) for leak in leaks]
    logger.info("leak_report", partner=partner, leaks=len(leaks), ours=sum(found))
    return found


def _end(leak: Leak, partner: str) -> bool:
    try:
        digests = candidate_digests(leak.token)
    except KeyMalformed:
        return False
    rows = APIKey.objects.with_digest(digests).select_related("user", "organization")
    key: APIKey | None = rows.select_for_update(of=("self",), no_key=True).first()
    if key is None:
        return False
    is_current = bytes(key.digest) in digests
    at = clock.now()
    works = key.revoked_at is None and (is_current or (key.overlap_until is not None and key.overlap_until > at))
    if works:
        place = _place(leak.url)
        if is_current:
            revoke_key(key=key, reason="leaked")
        else:  # the secret before a rotation: the new one is not known to anybody else
            APIKey.objects.filter(pk=key.pk).update(previous_digest=None, overlap_until=None, updated_at=ClockNow())
        record(
            "key.leaked",
            target=key,
            organization_id=key.organization_id,
            subject_user_id=key.user_id,
            after={
                "partner": partner,
                "found_at": place,
                "kind": mask(leak.type)[:60],
                "key": str(key),
                "is_revoked": is_current,
            },
        )
        _tell(key, partner, place, is_old_secret=not is_current)
    return True


def _place(url: str) -> str:
    """Where it was found, as a harmless text: no secret in it, and nothing but a web address."""
    parts = urlsplit(url) if url.isprintable() and len(url) <= MAX_PLACE else None
    return mask(url) if parts is not None and parts.scheme in ("http", "https") else ""


def _tell(key: APIKey, partner: str, place: str, *, is_old_secret: bool) -> None:
    """No alarm: whoever has the secret is in no account by it."""
    last = key.last_used_at
    notify(
        to=key.user.email,
        kind="apikeys.leaked",
        payload={
            "name": key.user.name,
            "partner": partner,
            "key_name": key.name,
            "key": str(key),
            "organization": key.organization.name,
            "found_at": place,
            "is_old_secret": is_old_secret,
            "last_used": "" if last is None else f"{last.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            "client": key.last_used_client,
            "address": key.last_used_address,
            "url": settings.SITE_URL + (reverse("key", kwargs={"id": key.id}) if is_old_secret else reverse("keys")),
        },
        recipient=key.user,
    )


def prune_reports() -> int:
    """Forget reports from long ago; the number that went."""
    return LeakReport.objects.filter(received_at__lt=ClockNow() - REMEMBERED).delete()[0]
