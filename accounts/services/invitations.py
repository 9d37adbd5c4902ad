"""Invitations: a place in an organization, mailed to an address and taken by whoever has proved to own it.

Nothing here looks up whether the address has an account before the invitation is accepted, so neither the answer nor
the time it takes can tell.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db import transaction

from accounts.errors import AlreadyInvited, AlreadyMember, InvitationInvalid, InvitationNotYours
from accounts.models import Invitation, Membership, Organization, User
from accounts.services import mails
from accounts.services.addresses import clean_email, is_verified
from accounts.services.digests import all_digests, digest
from accounts.services.members import add_member
from accounts.services.rights import lock_organization, require_right_in
from common import limiter
from common.clock import now
from common.problems import FieldError, NotFound, RateLimited, ValidationFailed
from observability.services import record

LIFETIME = timedelta(days=7)
TOKEN_BYTES = 32
INVITATIONS_PER_HOUR = 50  # of one person, to whomever
MAILS_PER_HOUR = 5  # of invitations to one address, from whomever
KEPT = timedelta(days=30)  # after the end: addresses of people who may never have come


@transaction.atomic
def invite_member(*, organization: Organization, by: User, email: str, role: str) -> Invitation:
    """Mail a link that leads into the organization; it works for 7 days, for the owner of that address alone.

    Raises RoleRequired, AlreadyMember (by the address that members see), AlreadyInvited, RateLimited, ValidationFailed
    (nobody becomes an owner like that), NotFound.
    """
    email = clean_email(email)
    if role == Membership.Role.OWNER:
        detail = "Invite them as something else, and make them an owner when they are there."
        raise ValidationFailed(errors=[FieldError(pointer="/role", code="invalid", detail=detail)])
    organization = lock_organization(organization)
    require_right_in(organization, by, "members.invite")
    if Membership.objects.filter(organization=organization, user__email=email).exists():
        raise AlreadyMember()
    at = now()
    waiting = Invitation.objects.of_organization(organization).unanswered().filter(email=email).first()
    if waiting is not None and waiting.is_open(at):
        raise AlreadyInvited()
    if waiting is not None:
        waiting.revoked_at = at
        waiting.save(update_fields=["revoked_at"])
    _count(by, email)
    token, hashed = _make_token()
    invitation = Invitation.objects.create(
        organization=organization, email=email, role=role, digest=hashed, invited_by=by, expires_at=at + LIFETIME
    )
    invitation.refresh_from_db(fields=["created_at"])
    _record("organization.member_invited", invitation)
    mails.mail_invitation(invitation=invitation, by=by, token=token)
    return invitation


@transaction.atomic
def resend_invitation(*, invitation: Invitation, by: User) -> Invitation:
    """Mail a fresh link, good for another 7 days; the former one no longer works.

    Raises RoleRequired, RateLimited, NotFound (it was answered or taken back).
    """
    organization = lock_organization(invitation.organization)
    require_right_in(organization, by, "members.invite")
    found = _unanswered(organization, invitation)
    _count(by, found.email)
    token, found.digest = _make_token()
    found.expires_at, found.invited_by = now() + LIFETIME, by
    found.save(update_fields=["digest", "expires_at", "invited_by"])
    _record("organization.invitation_resent", found)
    mails.mail_invitation(invitation=found, by=by, token=token)
    return found


@transaction.atomic
def revoke_invitation(*, invitation: Invitation, by: User) -> None:
    """Take it back. Raises RoleRequired, NotFound (it was answered or taken back)."""
    organization = lock_organization(invitation.organization)
    require_right_in(organization, by, "members.invite")
    found = _unanswered(organization, invitation)
    found.revoked_at = now()
    found.save(update_fields=["revoked_at"])
    _record("organization.invitation_revoked", found)


def find_invitation(token: str) -> Invitation | None:
    """The open invitation of a token, with its organization and whoever invites."""
    found: Invitation | None = (
        Invitation.objects.open(now())
        .filter(digest__in=all_digests("invitation", token.strip().lower()))
        .select_related("organization", "invited_by")
        .first()
    )
    return found


@transaction.atomic
def accept_invitation(*, user: User, token: str) -> Membership:
    """Take the offered place. Who is in the organization already keeps the role they have.

    Raises InvitationInvalid, InvitationNotYours: the account has not verified the address it was mailed to.
    """
    found, at = _claim(user, token)
    found.accepted_at = at
    found.save(update_fields=["accepted_at"])
    held: Membership | None = Membership.objects.filter(organization=found.organization, user=user).first()
    if held is not None:
        return held
    made = add_member(organization=found.organization, user=user, role=found.role)
    owners = Membership.objects.of_organization(found.organization).owners()
    told = {one.user_id: one.user for one in owners}
    if found.invited_by is not None:
        told[found.invited_by_id] = found.invited_by
    facts = {"organization": found.organization.name, "member": user.name, "address": found.email}
    for person in told.values():
        role = str(Membership.Role(found.role).label)
        mails.mail_notice(user=person, kind="member_joined", role=role, **facts)
    return made


@transaction.atomic
def decline_invitation(*, user: User, token: str) -> None:
    """Say no. Raises InvitationInvalid, InvitationNotYours."""
    found, at = _claim(user, token)
    found.declined_at = at
    found.save(update_fields=["declined_at"])
    _record("organization.invitation_declined", found)


@transaction.atomic
def prune_invitations() -> int:
    """Delete the invitations whose time ended long ago, answered or not. Returns how many."""
    deleted, _ = Invitation.objects.filter(expires_at__lt=now() - KEPT).delete()
    return deleted


def _claim(user: User, token: str) -> tuple[Invitation, datetime]:
    """The invitation of a token, the organization locked, for a person to whom it was mailed."""
    seen = find_invitation(token)
    if seen is None:
        raise InvitationInvalid()
    try:
        organization = lock_organization(seen.organization)
    except NotFound:
        raise InvitationInvalid() from None
    at = now()
    found: Invitation | None = (
        Invitation.objects.open(at).filter(pk=seen.pk, digest=seen.digest).select_related("invited_by").first()
    )
    if found is None:
        raise InvitationInvalid()
    if not is_verified(user, found.email):
        raise InvitationNotYours()
    found.organization = organization
    return found, at


def _unanswered(organization: Organization, invitation: Invitation) -> Invitation:
    found: Invitation | None = (
        Invitation.objects.of_organization(organization).unanswered().filter(pk=invitation.pk).first()
    )
    if found is None:
        raise NotFound()
    return found


def _make_token() -> tuple[str, bytes]:
    """256 bits as hexadecimal digits, and what is stored of them."""
    token = secrets.token_hex(TOKEN_BYTES)
    return token, digest("invitation", token)


def _count(by: User, email: str) -> None:
    """Neither may one person write to everybody, nor everybody to one. Raises RateLimited."""
    for key, most in (
        (f"invitations:{by.pk.hex}", INVITATIONS_PER_HOUR),
        (f"invited:{digest('mail', email).hex()}", MAILS_PER_HOUR),
    ):
        allowance = limiter.check(key, most, 3600, name="invitations")
        if not allowance.allowed:
            detail = f"At most {most} invitations an hour."
            raise RateLimited(detail, retry_after_seconds=allowance.retry_after_seconds)


def _record(action: str, invitation: Invitation) -> None:
    """The log stands for ever, so it has the address only as far as one needs to recognize it."""
    name, _, domain = invitation.email.partition("@")
    record(
        action,
        target=invitation,
        organization_id=invitation.organization_id,
        after={"address": f"{name[:1]}…@{domain}", "role": invitation.role},
    )
