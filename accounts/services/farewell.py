"""Closing one's account: at once, with a way back for two weeks, then for good.

What the books need stays: the organization's calls and charges, by ids, and the audit log, which nobody can change.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core import signing
from django.db import transaction
from django.utils.translation import gettext

from accounts.errors import AccountInUse
from accounts.models import BrowserSession, EmailCode, Membership, Organization, RefreshFamily, User
from accounts.services import mails
from accounts.services.closing import Obstacle, end_organization, obstacles_to_closing
from accounts.services.events import record_about
from accounts.services.members import leave_organization
from accounts.services.tokens import revoke_all
from common.clock import now
from notifications.models import Message
from observability.services import record

WAY_BACK = timedelta(days=14)
REOPEN_SALT = "accounts.reopen"
AT_A_TIME = 100


def obstacles_to_leaving(user: User) -> list[Obstacle]:
    """Why this account cannot be closed yet: people who would be left without an owner, and models that are listed."""
    found = []
    for place in Membership.objects.of_user(user):
        organization = place.organization
        if organization.personal_owner_id is None and _has_others(organization, user):
            if place.role == Membership.Role.OWNER and not _has_other_owner(organization, user):
                words = gettext("Nobody else owns %(name)s. Make somebody else its owner, or close it.")
                found.append(Obstacle("last_owner", words % {"name": organization.name}))
            continue
        found += [
            Obstacle(one.code, f"{organization.name}: {one.detail}")
            for one in obstacles_to_closing(organization, now())
            if one.code != "keys"  # they end with the account
        ]
    return found


@transaction.atomic
def close_account(*, user: User) -> datetime:
    """Nobody logs in any more, and every session, token and key ends at once. Returns until when one may come back.

    Shared organizations are left now, and closed where nobody else is in them. Raises AccountInUse with the reasons.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    if found := obstacles_to_leaving(user):
        reasons = [{"code": one.code, "detail": one.detail} for one in found]
        raise AccountInUse(" ".join(one.detail for one in found), reasons=reasons)
    at = now()
    for key in user.api_keys.filter(revoked_at=None):
        key.revoked_at = at
        key.save(update_fields=["revoked_at", "updated_at"])
        record(
            "key.revoked",
            target=key,
            organization_id=key.organization_id,
            subject_user_id=user.pk,
            after={"reason": "account_closed"},
        )
    for place in Membership.objects.of_user(user):
        if place.organization.personal_owner_id is not None:
            continue
        if _has_others(place.organization, user):
            leave_organization(organization=place.organization, user=user)
        else:
            end_organization(organization=place.organization, at=at)
    revoke_all(user=user, reason="closed")
    EmailCode.objects.filter(user=user, used_at=None).update(used_at=at)
    User.objects.filter(pk=user.pk).update(is_active=False, closed_at=at)
    record_about("closed", user)
    until = at + WAY_BACK
    token = signing.dumps({"user": user.pk.hex, "closed": at.isoformat()}, salt=REOPEN_SALT)
    mails.mail_farewell(user=user, token=token, until=until)
    return until


def find_closed(token: str) -> User | None:
    """Whose account a mailed link opens again; None once the two weeks are over, or the account is open."""
    try:
        given = signing.loads(token, salt=REOPEN_SALT)
        user_id, closed_at = UUID(given["user"]), datetime.fromisoformat(given["closed"])
    except (signing.BadSignature, ValueError, KeyError, TypeError):
        return None
    waiting = User.objects.filter(pk=user_id, closed_at=closed_at, closed_at__gt=now() - WAY_BACK, erased_at=None)
    return waiting.first()


@transaction.atomic
def reopen_account(token: str) -> User | None:
    """Open a closed account again. Keys stay revoked, and shared organizations are not joined again."""
    user = find_closed(token)
    if user is None or not User.objects.filter(pk=user.pk, closed_at=user.closed_at, erased_at=None).update(
        is_active=True, closed_at=None
    ):
        return None
    record_about("reopened", user, by_user=True)
    return user


def erase_accounts() -> int:
    """Forget who they were whose two weeks are over. Returns how many."""
    due = User.objects.filter(closed_at__lte=now() - WAY_BACK, erased_at=None).order_by("closed_at")
    return sum(_erase(pk) for pk in due.values_list("pk", flat=True)[:AT_A_TIME])


@transaction.atomic
def _erase(pk: UUID) -> bool:
    at = now()
    user = User.objects.select_for_update(skip_locked=True).filter(pk=pk, erased_at=None).first()
    if user is None or user.closed_at is None or user.closed_at > at - WAY_BACK:
        return False
    for kind in (Authenticator, SocialAccount, EmailAddress, EmailCode, RefreshFamily, BrowserSession):
        kind.objects.filter(user=user).delete()
    for organization in Organization.objects.filter(personal_owner=user):
        end_organization(organization=organization, at=at)
        names = {"name": "Closed account", "slug": f"closed-{organization.pk.hex[-12:]}"}
        if organization.ai_models.exists():  # its address is part of receipts and links
            del names["slug"]
        Organization.objects.filter(pk=organization.pk).update(**names)
    Message.objects.filter(recipient=user).delete()  # what ending the organization wrote, too
    user.set_unusable_password()
    user.email, user.name, user.erased_at = f"{user.pk.hex}@erased.invalid", "Closed account", at
    user.last_login = None
    user.save(update_fields=["password", "email", "name", "erased_at", "last_login", "updated_at"])
    record_about("erased", user)
    return True


def _has_others(organization: Organization, user: User) -> bool:
    return bool(Membership.objects.filter(organization=organization).exclude(user=user).exists())


def _has_other_owner(organization: Organization, user: User) -> bool:
    owners = Membership.objects.filter(organization=organization, user__is_active=True).owners()
    return bool(owners.exclude(user=user).exists())
