"""“This was not me”: the link in every notice, for whoever reads the mailbox that the notice went to."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from allauth.account.models import EmailAddress
from django.core import signing
from django.db import transaction

from accounts.models import User
from accounts.services import codes, mails
from accounts.services.events import record_about
from accounts.services.tokens import revoke_all
from common.clock import now


class Alarm(NamedTuple):
    """Whose account it is about, and the address that the notice went to."""

    user: User
    email: str


def find_alarm(token: str) -> Alarm | None:
    """What a link stands for; None where it is wrong, older than a week, or of an account that is closed."""
    try:
        given = signing.loads(token, salt=mails.ALARM_SALT)
        user_id, email, until = UUID(given["user"]), str(given["email"]), int(given["until"])
    except (signing.BadSignature, ValueError, KeyError, TypeError):
        return None
    at = now()
    if at.timestamp() > until or until > (at + mails.ALARM_LIFETIME + timedelta(days=1)).timestamp():
        return None
    user = User.objects.filter(pk=user_id, is_active=True).first()
    return Alarm(user, email) if user is not None else None


@transaction.atomic
def raise_alarm(token: str) -> Alarm | None:
    """End every session and token of the account, and mail a link to a new password to the address that was warned.

    That address need no longer be the account's: whoever took the account over may have changed it. Unless somebody
    else has proved to own it meanwhile, a new password makes it the account's again. Nothing else is undone.
    """
    found = find_alarm(token)
    if found is None:
        return None
    user, email = found
    revoke_all(user=user, reason="not_me")
    record_about("alarm_raised", user, by_user=True, after={"email": email})
    if mails.may_mail(email):
        if EmailAddress.objects.filter(email=email, verified=True).exclude(user=user).exists():
            email = user.email
        mails.mail_reset_link(user=user, email=email, token=codes.issue_reset_token(user=user, email=email, at=now()))
    return Alarm(user, email)
