"""Passwords: their rules, and new ones. A new password ends every session and token of the user."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.errors import ResetTokenInvalid
from accounts.models import EmailCode, User
from accounts.services import codes, mails
from accounts.services.addresses import find_owner, mark_verified
from accounts.services.events import record_about
from accounts.services.tokens import revoke_all
from common.clock import now
from common.problems import FieldError, ValidationFailed


def check_password_rules(password: str, user: User) -> None:
    """Raises ValidationFailed with every rule of AUTH_PASSWORD_VALIDATORS that the password breaks for this user."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        faults = [
            FieldError(pointer="/password", code=str(one.code or "invalid"), detail=" ".join(one.messages))
            for one in error.error_list
        ]
        raise ValidationFailed(errors=faults) from None


@transaction.atomic
def request_password_reset(*, email: str) -> None:
    """Mail a link that sets a new password, or to an unknown address that there is no account. Silent either way."""
    if not mails.may_mail(email):
        return
    user, at = find_owner(email), now()
    if user is None or not user.is_active:
        codes.issue_in_vain(purpose=EmailCode.Purpose.RESET_PASSWORD, email=email, at=at)
        mails.mail_unknown_account(email=email)
    else:
        token = codes.issue_reset_token(user=user, email=email, at=at)
        mails.mail_reset_link(user=user, email=email, token=token)


@transaction.atomic
def reset_password(*, token: str, password: str) -> User:
    """Set the password by a mailed token, and end all sessions. Who reads the mail has verified the address, too.

    token: bare, or as it stands in the link. Raises ResetTokenInvalid, or ValidationFailed for a weak password; the
    token can then still be used.
    """
    found = codes.find_reset(token)
    if found is None:
        raise ResetTokenInvalid(errors=[_TOKEN_FAULT])
    check_password_rules(password, found.user)
    if not EmailCode.objects.filter(pk=found.pk, used_at=None).update(used_at=now()):
        raise ResetTokenInvalid(errors=[_TOKEN_FAULT])
    _set_password(found.user, password)
    record_about("password_reset", found.user, by_user=True)
    mark_verified(user=found.user, email=found.email)
    return found.user


@transaction.atomic
def change_password(*, user: User, password: str) -> None:
    """Set the password, end every session, access and refresh token and reset link of the user, and tell them."""
    _set_password(user, password)
    record_about("password_changed", user)


def _set_password(user: User, password: str) -> None:
    user.set_password(password)
    user.save(update_fields=["password", "updated_at"])
    revoke_all(user=user, reason="password_changed")
    codes.cancel_codes(user=user, purpose=EmailCode.Purpose.RESET_PASSWORD, at=now())
    mails.mail_notice(user=user, kind="password_changed")


_TOKEN_FAULT = FieldError(pointer="/token", code="reset_token_invalid", detail="This token is wrong, expired or used.")
