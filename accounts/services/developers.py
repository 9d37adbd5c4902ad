"""The way from consumer to platform developer."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from accounts.models import User
from accounts.services import mails
from common.clock import now
from observability.services import record

DEVELOPER = User.PlatformRole.DEVELOPER


@transaction.atomic
def request_developer_role(*, user: User) -> User:
    """Ask to publish. Granted at once where DEVELOPER_APPROVAL is `automatic`, else noted for the staff; repeatable."""
    if user.is_staff or user.platform_role == DEVELOPER:
        return user
    at = now()
    if User.objects.filter(pk=user.pk, developer_requested_at=None).update(developer_requested_at=at):
        _record("developer.requested", user)
    if settings.DEVELOPER_APPROVAL == "automatic":
        User.objects.filter(pk=user.pk).update(platform_role=DEVELOPER)
        _record("developer.granted", user, DEVELOPER)
    user.refresh_from_db(fields=["platform_role", "developer_requested_at"])
    return user


@transaction.atomic
def grant_developer_role(*, user: User) -> bool:
    """The staff says yes; the user is told by mail. False when they had the role already."""
    granted = User.objects.filter(pk=user.pk).exclude(platform_role=DEVELOPER).update(platform_role=DEVELOPER)
    user.refresh_from_db(fields=["platform_role"])
    if granted:
        _record("developer.granted", user, DEVELOPER)
        mails.mail_notice(user=user, kind="developer_granted")
    return bool(granted)


@transaction.atomic
def withdraw_developer_role(*, user: User) -> bool:
    """Back to consumer, without a pending request. False when they were no developer."""
    withdrawn = User.objects.filter(pk=user.pk, platform_role=DEVELOPER).update(
        platform_role=User.PlatformRole.CONSUMER, developer_requested_at=None
    )
    user.refresh_from_db(fields=["platform_role", "developer_requested_at"])
    if withdrawn:
        _record("developer.withdrawn", user, User.PlatformRole.CONSUMER)
    return bool(withdrawn)


def _record(action: str, user: User, role: str = "") -> None:
    record(action, target=user, subject_user_id=user.pk, after={"platform_role": role} if role else None)
