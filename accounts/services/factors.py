"""The second factor of signing in, as far as staff has to do with it."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.db import transaction

from accounts.models import User
from accounts.services import mails
from accounts.services.events import record_about


@transaction.atomic
def remove_second_factor(*, user: User) -> bool:
    """Let someone in who lost their authenticator app and recovery codes; they are told by mail. False without one."""
    removed, _rows = Authenticator.objects.filter(user=user).delete()
    if removed:
        record_about("factor_removed", user)
        mails.mail_notice(user=user, kind="totp_deactivated")
    return bool(removed)
