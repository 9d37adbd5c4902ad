"""What we mail to people about their account. The words are in `templates/accounts/emails/`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.urls import reverse

from accounts.models import Invitation, Membership, User
from accounts.services.devices import name_device
from accounts.services.digests import digest
from common import limiter
from common.clock import now
from notifications.services import notify
from observability.services import current_client

ALARM_SALT = "accounts.not_me"
ALARM_LIFETIME = timedelta(days=7)

#: Mails that anyone may cause at one address: all at once, then refilled over an hour.
MAILS_PER_HOUR = 10


def may_mail(email: str) -> bool:
    """Whether one more mail may go to an address that a stranger named. Takes it from the address' allowance."""
    key = f"mail:{digest('mail', email).hex()}"
    return limiter.check(key, MAILS_PER_HOUR, 3600, name="mail").allowed


def mail_code(*, user: User, email: str, code: str) -> None:
    """Without the name: until the address is proved, a stranger may have chosen it, and could write to others by it."""
    notify(to=email, kind="accounts.verify_email", payload={"code": code}, recipient=user)


def mail_login_code(*, user: User, email: str, code: str) -> None:
    notify(to=email, kind="accounts.login_code", payload={"code": code}, recipient=user)


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
    to = email or user.email
    address, agent = current_client()
    payload = {
        "name": user.name,
        "not_me_url": _url("not-me", token=make_alarm_token(user=user, email=to)),
        "device": name_device(agent) if address else "",
        "address": address,
        **facts,
    }
    notify(to=to, kind=f"accounts.{kind}", payload=payload, recipient=user)


def mail_developer_decision(*, user: User, kind: str, reason: str = "") -> None:
    """What the staff decided about publishing. No alarm: nothing was done in the person's name."""
    payload = {"name": user.name, "reason": reason, "developer_url": _url("developer")}
    notify(to=user.email, kind=f"accounts.{kind}", payload=payload, recipient=user)


def mail_farewell(*, user: User, token: str, until: datetime) -> None:
    payload = {
        "name": user.name,
        "reopen_url": _url("reopen", token=token),
        "until": until.strftime("%Y-%m-%d %H:%M UTC"),
    }
    notify(to=user.email, kind="accounts.account_closed", payload=payload, recipient=user)


def make_alarm_token(*, user: User, email: str) -> str:
    """For the link “this was not me” in a notice to this address. It is good for that, for a week."""
    until = int((now() + ALARM_LIFETIME).timestamp())
    return signing.dumps({"user": user.pk.hex, "email": email, "until": until}, salt=ALARM_SALT)


def mail_invitation(*, invitation: Invitation, by: User, token: str) -> None:
    """To an address that a member gave: their names are shown, unless one could be taken for a link."""
    organization = invitation.organization
    payload = {
        "organization": organization.name if _is_no_link(organization.name) else organization.slug,
        "inviter": f"{by.name} ({by.email})" if _is_no_link(by.name) else by.email,
        "role": str(Membership.Role(invitation.role).label),
        "until": invitation.expires_at.strftime("%Y-%m-%d"),
        "url": _url("invitation", token=token),
    }
    notify(to=invitation.email, kind="accounts.invitation", payload=payload)


def _is_no_link(name: str) -> bool:
    """Mail programs make a link of whatever looks like an address."""
    return re.search(r"://|@|\w\.\w\w", name) is None


def _url(name: str, **parts: str) -> str:
    return f"{settings.SITE_URL}{reverse(name, kwargs=parts or None)}"
