"""Whether somebody logs in as they have before."""

from __future__ import annotations

from allauth.mfa.models import Authenticator

from accounts.models import User
from accounts.services import mails
from accounts.services.devices import name_device
from observability.models import AuditEvent
from observability.services import current_client

REMEMBERED_LOGINS = 200


def tell_of_new_device(user: User) -> None:
    """Mail a notice when a device or program logs in that none of the last log-ins came from. Not at the first one.

    To be called before the log-in is recorded.
    """
    address, agent = current_client()
    if not address:
        return  # a command or a job
    known = AuditEvent.objects.about(user.pk).filter(action="account.logged_in").order_by("-seq")
    clients = set(known.values_list("client", flat=True)[:REMEMBERED_LOGINS])
    if clients and name_device(agent) not in {name_device(client) for client in clients}:
        mails.mail_notice(user=user, kind="new_device")


def comes_back_without_passkey(user: User) -> bool:
    """Whether a passkey would save somebody something: they have none, and logged in on pages more than once."""
    if Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).exists():
        return False
    logins = AuditEvent.objects.about(user.pk).filter(action="account.logged_in", after__by="browser")
    return logins.order_by("-seq")[:2].count() == 2
