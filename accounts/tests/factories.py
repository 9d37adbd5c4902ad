"""People and organizations for tests, with valid defaults; and what a test needs to play a newcomer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core import mail
from django.db import connection
from django.test import Client

from accounts import services
from accounts.models import Membership, Organization, User
from common.ids import uuid7
from notifications.services import deliver

PASSWORD = "correct horse battery staple"

_addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in itertools.count(1))


def make_user(*, email: str | None = None, password: str = PASSWORD, name: str = "Ada Lovelace", **fields: Any) -> User:
    """A person with a verified address and a personal organization."""
    user = services.open_account(email=email or new_address(), password=password, name=name)
    for field, value in fields.items():
        setattr(user, field, value)
    user.save()
    return user


def make_organization(*, owner: User | None = None, name: str = "Analytical Engines", **fields: Any) -> Organization:
    """A shared organization with an owner."""
    organization = services.create_organization(owner=owner or make_user(), name=name)
    for field, value in fields.items():
        setattr(organization, field, value)
    organization.save()
    return organization


def make_member(
    *, organization: Organization | None = None, user: User | None = None, role: str = Membership.Role.MEMBER
) -> Membership:
    return Membership.objects.create(
        organization=organization or make_organization(), user=user or make_user(), role=role
    )


def make_key(*, user: User, organization: Organization, **fields: Any) -> Any:
    """A key that opens nothing: keys belong to an app that this one does not import."""
    values = {"name": "production", "prefix": "agr_live_0000", "last_four": "0000", "pepper_id": "x"}
    return user.api_keys.create(
        organization=organization, digest=uuid7().bytes * 2, permissions=["models:read"], **values, **fields
    )


def new_address() -> str:
    return f"{uuid7().hex}@example.org"


def make_client(**headers: str) -> Client:
    """A client with an IP address of its own, so that tests do not eat each other's rate limits."""
    return Client(REMOTE_ADDR=next(_addresses), headers=headers or None)


def mails_to(address: str) -> list[Any]:
    """What has been mailed to this address by now, oldest first."""
    deliver(limit=1000)
    return [message for message in mail.outbox if message.to == [address]]


def code_in(message: Any) -> str:
    """The code that stands on a line of its own."""
    return re.findall(r"^[A-Z0-9]{6,8}$", message.body, re.MULTILINE)[0]


def reset_token_in(message: Any) -> str:
    """The token at the end of the link."""
    return re.findall(r"/password/reset/key/[0-9a-f]{32}-([0-9a-f]{64})/$", message.body, re.MULTILINE)[0]


def token_in(message: Any) -> str:
    """The token of the invitation that the link leads to."""
    return re.findall(r"/invitations/([0-9a-f]{64})$", message.body, re.MULTILINE)[0]


@contextmanager
def later(interval: str) -> Iterator[None]:
    """The database's clock, so much later: "16 minutes"."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [interval])
        try:
            yield
        finally:
            cursor.execute("SELECT set_config('agorai.clock_offset', '', false)")
