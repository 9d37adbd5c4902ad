"""Everything that is kept about one person, for themselves: JSON, piece by piece, without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.serializers.json import DjangoJSONEncoder

from accounts.models import BrowserSession, Invitation, Membership, RefreshFamily, User
from common.ids import encode
from notifications.models import Message
from observability.models import AuditEvent

Rows = Iterable[Mapping[str, Any]]


def export_account(*, user: User) -> Iterator[str]:
    """One JSON object in pieces: `account`, then a list of each kind of row. Rows are read as they are written."""
    account = {
        "id": user.public_id,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "created_at": user.created_at,
        "last_login": user.last_login,
    }
    yield f'{{"account": {_json(account)}'
    for name, rows in PARTS.items():
        yield f',\n"{name}": ['
        for number, row in enumerate(rows(user)):
            yield ("," if number else "") + "\n  " + _json(row)
        yield "]"
    yield "}\n"


def _json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def _emails(user: User) -> Rows:
    yield from EmailAddress.objects.filter(user=user).values("email", "verified", "primary")


def _factors(user: User) -> Rows:
    for row in Authenticator.objects.filter(user=user):
        name = row.data.get("name") if row.type == Authenticator.Type.WEBAUTHN else None
        yield {"type": row.type, "name": name, "created_at": row.created_at, "last_used_at": row.last_used_at}


def _identities(user: User) -> Rows:
    rows = SocialAccount.objects.filter(user=user)
    yield from rows.values("provider", "uid", "extra_data", "date_joined", "last_login")


def _sessions(user: User) -> Rows:
    rows = BrowserSession.objects.filter(user=user)
    return rows.values("address", "user_agent", "created_at", "last_seen_at")


def _programs(user: User) -> Rows:
    rows = RefreshFamily.objects.filter(user=user)
    return rows.values("address", "user_agent", "created_at", "last_used_at", "revoked_at")


def _places(user: User) -> Rows:
    for place in Membership.objects.filter(user=user).select_related("organization"):
        organization = place.organization
        yield {
            "organization": organization.public_id,
            "name": organization.name,
            "slug": organization.slug,
            "is_personal": organization.personal_owner_id == user.pk,
            "role": place.role,
            "since": place.created_at,
            "closed_at": organization.closed_at,
        }


def _invitations(user: User) -> Rows:
    addresses = EmailAddress.objects.filter(user=user, verified=True).values("email")
    rows = Invitation.objects.filter(email__in=addresses)
    return rows.values("email", "role", "created_at", "expires_at", "accepted_at", "declined_at", "revoked_at")


def _keys(user: User) -> Rows:
    """They belong to an app above this one; the relation is read, nothing is imported."""
    for key in user.api_keys.order_by("id"):
        yield {
            "id": encode("key", key.pk),
            "organization": encode("org", key.organization_id),
            "name": key.name,
            "prefix": key.prefix,
            "last_four": key.last_four,
            "permissions": key.permissions,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "last_used_at": key.last_used_at,
            "last_used_address": key.last_used_address,
            "last_used_client": key.last_used_client,
        }


def _mails(user: User) -> Rows:
    return Message.objects.filter(recipient=user).values("kind", "to_address", "state", "created_at")


def _events(user: User) -> Rows:
    rows = AuditEvent.objects.about(user.pk).order_by("seq")
    return rows.values("action", "at", "before", "after", "address", "client").iterator(chunk_size=500)


PARTS: dict[str, Callable[[User], Rows]] = {
    "email_addresses": _emails,
    "second_factors": _factors,
    "connected_logins": _identities,
    "sessions": _sessions,
    "programs": _programs,
    "organizations": _places,
    "invitations": _invitations,
    "api_keys": _keys,
    "mails": _mails,
    "security_log": _events,
}
