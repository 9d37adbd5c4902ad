"""Codes that are mailed: the proof that somebody reads a mailbox. Pages and API share them."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F

from accounts.errors import CodeInvalid
from accounts.models import EmailCode, User
from accounts.services.digests import all_digests, digest
from common.clock import ClockNow, now
from common.problems import FieldError

ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # no 0 or O, 1, I or L, and no U, which completes words
LENGTH = 8
CODE_LIFETIME = timedelta(minutes=15)
RESET_LIFETIME = timedelta(hours=1)
RESET_TOKEN_BYTES = 32

CODE_FAULT: FieldError = {"pointer": "/code", "code": "code_invalid", "detail": "This code is wrong, expired or used."}


@transaction.atomic
def issue_code(*, user: User, purpose: str, email: str, at: datetime) -> str:
    """A new code for this mailbox, the only one that counts from now on. It is stored as a keyed hash alone."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    _replace(user, purpose, email, digest("code", purpose, str(user.pk), email, code), at, at + CODE_LIFETIME)
    return code


@transaction.atomic
def issue_in_vain(*, purpose: str, email: str, at: datetime) -> None:
    """The work of a code or token for an address without an account, so that the time of an answer tells nothing."""
    _replace(User(), purpose, email, digest("code", purpose, email), at, at)
    transaction.set_rollback(True)


def claim_code(*, user: User, purpose: str, email: str, code: str) -> UUID:
    """Use up a code; the id of its row. Raises CodeInvalid: wrong, expired, replaced, used, or tried five times.

    A try is counted before the code is compared, in one statement, so that no number of clients gets a sixth.
    """
    newest = (
        EmailCode.objects.filter(user=user, purpose=purpose, email=email, used_at=None, expires_at__gt=ClockNow())
        .order_by("-expires_at", "-id")
        .first()
    )
    if newest is None:
        raise CodeInvalid(errors=[CODE_FAULT])
    row = EmailCode.objects.filter(pk=newest.pk, used_at=None, expires_at__gt=ClockNow())
    counted = row.filter(attempts__lt=EmailCode.MAX_ATTEMPTS).update(attempts=F("attempts") + 1)
    typed = "".join(code.split()).replace("-", "").upper()
    candidates = all_digests("code", purpose, str(user.pk), email, typed)
    is_right = bytes(newest.digest) in candidates  # keyed hashes: how far two agree tells nothing
    if not (counted and is_right and row.update(used_at=ClockNow())):
        raise CodeInvalid(errors=[CODE_FAULT])
    return newest.pk


def give_code_back(row: UUID) -> None:
    """A code that was right, and shall be good for another try."""
    EmailCode.objects.filter(pk=row).update(used_at=None, attempts=F("attempts") - 1)


@transaction.atomic
def cancel_codes(*, user: User, purpose: str, at: datetime) -> None:
    """No code mailed until now counts any more."""
    EmailCode.objects.filter(user=user, purpose=purpose, used_at=None).update(used_at=at)


@transaction.atomic
def issue_reset_token(*, user: User, email: str, at: datetime) -> str:
    """A new token for a link that sets a password: 256 bits as 64 hexadecimal digits. Earlier ones stop counting."""
    token = secrets.token_hex(RESET_TOKEN_BYTES)
    purpose = EmailCode.Purpose.RESET_PASSWORD
    _replace(user, purpose, email, digest("reset", token), at, at + RESET_LIFETIME)
    return token


def find_reset(token: str) -> EmailCode | None:
    """The row of a reset token that may still be used, with its user. `token`: bare, or as it stands in the link."""
    secret = token.rpartition("-")[2].strip().lower()
    return (
        EmailCode.objects.filter(
            digest__in=all_digests("reset", secret),
            purpose=EmailCode.Purpose.RESET_PASSWORD,
            used_at=None,
            expires_at__gt=ClockNow(),
            user__is_active=True,
        )
        .select_related("user")
        .first()
    )


def is_reset_token_of(*, user: User, token: str) -> bool:
    """Whether this token would set the password of this user now."""
    found = find_reset(token)
    return found is not None and found.user_id == user.pk


@transaction.atomic
def prune_email_codes() -> int:
    """Delete the codes that expired more than a day ago. Returns how many."""
    deleted, _ = EmailCode.objects.filter(expires_at__lt=now() - timedelta(days=1)).delete()
    return deleted


def _replace(user: User, purpose: str, email: str, hashed: bytes, at: datetime, expires_at: datetime) -> None:
    EmailCode.objects.filter(user=user, purpose=purpose, email=email, used_at=None).update(used_at=at)
    EmailCode.objects.create(user=user, purpose=purpose, email=email, digest=hashed, expires_at=expires_at)
