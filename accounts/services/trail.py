"""What the packages that sign people in tell us about, for the audit log and the person's security log.

What our own services change they record themselves.
"""

from __future__ import annotations

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from allauth.socialaccount import signals as social
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import User
from accounts.services import mails
from accounts.services.addresses import find_owner
from accounts.services.events import record_about
from accounts.services.logins import tell_of_new_device
from accounts.services.sessions import forget_session, keep_session
from observability.services import record


def record_failed_login(*, email: str = "", user: User | None = None, reason: str) -> None:
    """A wrong password or code. For an unknown address as well, with the same work and without the address: people
    type passwords into that field. reason: `password` or `second_factor`."""
    if user is None:
        user = find_owner(email)
    record(
        "account.login_failed",
        target_type="user",
        target_id=user.pk if user is not None else None,
        subject_user_id=user.pk if user is not None else None,
        after={"reason": reason, "is_known": user is not None},
    )


@receiver(account.user_logged_in, dispatch_uid="trail.logged_in")
def note_login(user: User, **_facts: Any) -> None:
    tell_of_new_device(user)
    record_about("logged_in", user, by_user=True, after={"by": "browser"})


@receiver(user_logged_in, dispatch_uid="trail.session")
def note_session(request: HttpRequest, user: User, **_facts: Any) -> None:
    if request.session.session_key is None:
        request.session.save()
    keep_session(user=user, session_key=request.session.session_key or "")


@receiver(user_logged_out, dispatch_uid="trail.logged_out")
def note_logout(request: HttpRequest, user: User | None, **_facts: Any) -> None:
    if user is not None:
        forget_session(session_key=request.session.session_key or "")
        record_about("logged_out", user, by_user=True)


@receiver(user_login_failed, dispatch_uid="trail.login_failed")
def note_failed_login(credentials: dict[str, Any], **_facts: Any) -> None:
    record_failed_login(email=str(credentials.get("email") or "").lower(), reason="password")


@receiver(mfa.authentication_failed, dispatch_uid="trail.second_factor_failed")
def note_failed_factor(user: User, **_facts: Any) -> None:
    record_failed_login(user=user, reason="second_factor")


@receiver(account.email_added, dispatch_uid="trail.email_added")
def note_email(user: User, email_address: Any, **_facts: Any) -> None:
    record_about("email_added", user, after={"email": email_address.email})


@receiver(account.email_confirmed, dispatch_uid="trail.email_verified")
def note_verified_email(email_address: Any, **_facts: Any) -> None:
    user = email_address.user
    record_about("email_verified", user, by_user=True, after={"email": email_address.email})
    if user.email != email_address.email:  # the address of a sign-up is the user's own
        mails.mail_notice(user=user, kind="email_added", added_email=email_address.email)


@receiver(account.email_changed, dispatch_uid="trail.email_changed")
def note_primary_email(user: User, from_email_address: Any, to_email_address: Any, **_facts: Any) -> None:
    before = {"email": from_email_address.email} if from_email_address is not None else None
    record_about("email_changed", user, before=before, after={"email": to_email_address.email})


@receiver(account.email_removed, dispatch_uid="trail.email_removed")
def note_lost_email(user: User, email_address: Any, **_facts: Any) -> None:
    record_about("email_removed", user, before={"email": email_address.email})


@receiver(mfa.authenticator_added, dispatch_uid="trail.factor_added")
def note_factor(user: User, authenticator: Any, **_facts: Any) -> None:
    record_about("factor_added", user, after={"type": authenticator.type})


@receiver(mfa.authenticator_removed, dispatch_uid="trail.factor_removed")
def note_lost_factor(user: User, authenticator: Any, **_facts: Any) -> None:
    record_about("factor_removed", user, before={"type": authenticator.type})


@receiver(mfa.authenticator_reset, dispatch_uid="trail.factor_reset")
def note_new_codes(user: User, authenticator: Any, **_facts: Any) -> None:
    record_about("factor_changed", user, after={"type": authenticator.type})


@receiver(social.social_account_added, dispatch_uid="trail.identity_added")
def note_identity(sociallogin: Any, **_facts: Any) -> None:
    provider = str(sociallogin.account.get_provider().name)
    record_about("identity_added", sociallogin.user, by_user=True, after={"provider": provider})
    mails.mail_notice(user=sociallogin.user, kind="identity_added", provider=provider)


@receiver(social.social_account_removed, dispatch_uid="trail.identity_removed")
def note_lost_identity(socialaccount: Any, **_facts: Any) -> None:
    provider = str(socialaccount.get_provider().name)
    record_about("identity_removed", socialaccount.user, before={"provider": provider})
    mails.mail_notice(user=socialaccount.user, kind="identity_removed", provider=provider)
