"""The devices from which somebody has logged in to an account: others' guesses do not lock these out.

A browser carries a signed cookie that names the accounts. A program is known again by its fingerprint, as long as a
sign-in of it lives.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from allauth.account import signals as account
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core import signing
from django.db.models import Q
from django.dispatch import receiver

from accounts.models import RefreshFamily, User
from accounts.services.digests import fingerprint
from common.address import client_address
from observability.services import current_request

LIFETIME = timedelta(days=180)
MAX_ACCOUNTS = 5  # that one browser is remembered for
SALT = "accounts.device"
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Device:
    """id: of the cookie, "" without one. accounts: whom it names. client: the fingerprint."""

    id: str = ""
    accounts: tuple[str, ...] = ()
    client: str = ""

    def key_for(self, user: User | None) -> str | None:
        """What the device is counted by where the account knows it; None where it does not."""
        is_program = RefreshFamily.objects.filter(
            Q(revoked_at=None) | Q(reason="logout"),  # not one that was ended because somebody stole its token
            user=user.pk if user is not None else NOBODY,  # the same query for an address without an account
            client=self.client,
        ).exists()
        if user is None:
            return None
        if user.pk.hex in self.accounts:
            return self.id
        return self.client if is_program else None


def current_device() -> Device:
    """The device that the running request came from; an unknown one in tasks and commands."""
    context = current_request()
    if context is None:
        return Device()
    agent = context.request.META.get("HTTP_USER_AGENT") or ""
    client = fingerprint(address=client_address(context.request), user_agent=agent)
    return read_cookie(context.request.COOKIES, client=client)


def read_cookie(cookies: Mapping[str, str], *, client: str = "") -> Device:
    try:
        id, *accounts = signing.loads(cookies.get(settings.DEVICE_COOKIE_NAME, ""), salt=SALT, max_age=LIFETIME)
    except (signing.BadSignature, ValueError, TypeError):
        return Device(client=client)
    return Device(id=id, accounts=tuple(accounts), client=client)


def cookie_for(user: User, cookies: Mapping[str, str]) -> str:
    """The value of the cookie of a browser from which `user` has just logged in."""
    known = read_cookie(cookies)
    others = [account for account in known.accounts if account != user.pk.hex][: MAX_ACCOUNTS - 1]
    return signing.dumps([known.id or secrets.token_hex(16), user.pk.hex, *others], salt=SALT)


@receiver(user_logged_in, dispatch_uid="known_devices.logged_in")
@receiver(account.password_reset, dispatch_uid="known_devices.password_reset")
def note_device(request: Any, user: User, **_facts: Any) -> None:
    """Whoever logs in, or sets a new password by a mailed link, sits at a device of theirs; the middleware says so."""
    if request is not None:
        request.device_of = user
