"""What we mail to people about their account. The words are in `templates/accounts/emails/`."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse

from accounts.models import User
from accounts.services.digests import digest
from common import limiter
from notifications.services import notify

#: Mails that anyone may cause at one address: all at once, then refilled over an hour.
MAILS_PER_HOUR = 10


def may_mail(email: str) -> bool:
    """Whether one more mail may go to an address that a stranger named. Takes it from the address' allowance."""
    key = f"mail:{digest('mail', email).hex()}"
    return limiter.check(key, MAILS_PER_HOUR, 3600, name="mail").allowed


def mail_code(*, user: User, email: str, code: str) -> None:
    """Without the name: until the address is proved, a stranger may have chosen it, and could write to others by it."""
    notify(to=email, kind="accounts.verify_email", payload={"code": code}, recipient=user)


def mail_account_exists(*, user: User, email: str) -> None:
    payload = {"name": user.name, "login_url": _url("account_login"), "reset_url": _url("account_reset_password")}
    notify(to=email, kind="accounts.account_exists", payload=payload, recipient=user)


def mail_unknown_account(*, email: str) -> None:
    notify(to=email, kind="accounts.unknown_account", payload={"email": email, "signup_url": _url("account_signup")})


def mail_reset_link(*, user: User, email: str, token: str) -> None:
    url = _url("account_reset_password_from_key", uidb36=user.pk.hex, key=token)
    notify(to=email, kind="accounts.reset_password", payload={"reset_url": url}, recipient=user)


def mail_notice(*, user: User, kind: str, email: str = "", **facts: str) -> None:
    """A notice about something that happened to the account, with the way to react if it was not the owner."""
    payload = {"name": user.name, "reset_url": _url("account_reset_password"), **facts}
    notify(to=email or user.email, kind=f"accounts.{kind}", payload=payload, recipient=user)


def _url(name: str, **parts: str) -> str:
    return f"{settings.SITE_URL}{reverse(name, kwargs=parts or None)}"
