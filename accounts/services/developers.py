"""The way from consumer to platform developer: a request with a reason, a decision with a reason, and a mail."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from accounts.models import DeveloperRequest, User
from accounts.services import mails
from common.clock import now
from common.problems import FieldError, ValidationFailed
from observability.services import record

CONSUMER, DEVELOPER = User.PlatformRole.CONSUMER, User.PlatformRole.DEVELOPER
Decision = DeveloperRequest.Decision


@transaction.atomic
def request_developer_role(*, user: User, reason: str = "") -> DeveloperRequest | None:
    """Ask to publish. Granted at once where DEVELOPER_APPROVAL is `automatic`, else noted for the staff; repeatable.

    Returns the newest request; None for staff and others who may publish without having asked.
    """
    person = _lock(user)
    newest = latest_request_of(person)
    if person.is_staff or person.platform_role == DEVELOPER:
        return newest
    if newest is None or newest.decision:
        newest = DeveloperRequest.objects.create(user=person, reason=reason, created_at=now())
        _record("developer.requested", person, reason=reason)
    elif reason and reason != newest.reason:
        newest.reason = reason
        newest.save(update_fields=["reason"])
    if settings.DEVELOPER_APPROVAL == "automatic":
        _decide(newest, Decision.GRANTED)
        _give_role(person)
    user.refresh_from_db(fields=["platform_role"])
    return newest


@transaction.atomic
def grant_developer_role(*, user: User, by: User | None = None, reason: str = "") -> bool:
    """The staff says yes, asked or not; the person is told by mail. False when they had the role already."""
    person = _lock(user)
    is_new = person.platform_role != DEVELOPER
    newest = latest_request_of(person)
    if newest is not None and not newest.decision:
        _decide(newest, Decision.GRANTED, by=by, reason=reason)
    if is_new:
        _give_role(person)
        mails.mail_developer_decision(user=person, kind="developer_granted", reason=reason)
    user.refresh_from_db(fields=["platform_role"])
    return is_new


@transaction.atomic
def refuse_developer_role(*, user: User, by: User | None, reason: str) -> bool:
    """The staff says no, and why; the person is told by mail, and may ask again. False where nothing was asked.

    Raises ValidationFailed without a reason.
    """
    if not reason.strip():
        fault = FieldError(pointer="/reason", code="required", detail="Say why: the person is told.")
        raise ValidationFailed(errors=[fault])
    person = _lock(user)
    newest = latest_request_of(person)
    if newest is None or newest.decision:
        return False
    _decide(newest, Decision.REFUSED, by=by, reason=reason)
    _record("developer.refused", person, reason=reason)
    mails.mail_developer_decision(user=person, kind="developer_refused", reason=reason)
    return True


@transaction.atomic
def withdraw_developer_role(*, user: User) -> bool:
    """Back to consumer; the person is told by mail. False when they were no developer."""
    withdrawn = User.objects.filter(pk=user.pk, platform_role=DEVELOPER).update(platform_role=CONSUMER)
    user.refresh_from_db(fields=["platform_role"])
    if withdrawn:
        _record("developer.withdrawn", user, platform_role=CONSUMER, was=DEVELOPER)
        mails.mail_developer_decision(user=user, kind="developer_withdrawn")
    return bool(withdrawn)


def latest_request_of(user: User) -> DeveloperRequest | None:
    return DeveloperRequest.objects.filter(user=user).order_by("-id").first()


def _lock(user: User) -> User:
    """The row as it is now; two who decide, or ask, at the same time do so one after the other."""
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def _decide(request: DeveloperRequest, decision: str, *, by: User | None = None, reason: str = "") -> None:
    request.decision, request.decision_reason, request.decided_by, request.decided_at = decision, reason, by, now()
    request.save(update_fields=["decision", "decision_reason", "decided_by", "decided_at"])


def _give_role(user: User) -> None:
    was = user.platform_role
    User.objects.filter(pk=user.pk).update(platform_role=DEVELOPER)
    _record("developer.granted", user, platform_role=DEVELOPER, was=was)


def _record(action: str, user: User, *, was: str = "", **after: str) -> None:
    """was: the platform role before, of what changes it."""
    known = {name: value for name, value in after.items() if value}
    before = {"platform_role": was} if was else None
    record(action, target=user, subject_user_id=user.pk, before=before, after=known or None)
