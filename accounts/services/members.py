"""Who is in an organization, and as what. Every change locks the organization first, so that two of them never meet."""

from __future__ import annotations

from django.db import transaction

from accounts.errors import AlreadyMember, LastOwner, PersonalOrganization
from accounts.models import Membership, Organization, User, role_may, roles_with
from accounts.services import mails
from accounts.services.rights import find_membership, lock_organization, require_right_in
from common.clock import now
from common.ids import encode
from common.problems import Conflict, NotFound, RoleRequired
from observability.services import record

OWNER, ADMIN = Membership.Role.OWNER, Membership.Role.ADMIN


@transaction.atomic
def add_member(*, organization: Organization, user: User, role: str) -> Membership:
    """A place for this person, by the staff or by an invitation that they accepted.

    Raises AlreadyMember, NotFound (the organization is closed), PersonalOrganization (a second owner of one).
    """
    organization = lock_organization(organization)
    if Membership.objects.filter(organization=organization, user=user).exists():
        raise AlreadyMember()
    if role == OWNER and organization.personal_owner_id is not None:
        raise PersonalOrganization()
    made = Membership.objects.create(organization=organization, user=user, role=role)
    _record("organization.member_joined", made, after={"role": role})
    return made


@transaction.atomic
def change_role(*, membership: Membership, role: str, by: User | None) -> Membership:
    """Give somebody another role; what their keys may do changes with it. by: None for the staff of the site.

    Raises RoleRequired (an admin cannot make or unmake owners), LastOwner, PersonalOrganization, NotFound, Conflict (an
    account that is switched off owns nothing).
    """
    organization, target = _lock(membership)
    acting = require_right_in(organization, by, "members.change")
    if OWNER in (target.role, role):
        _require_owner(acting)
    if role == target.role:
        return target
    if organization.personal_owner_id is not None and (
        target.user_id == organization.personal_owner_id or role == OWNER
    ):
        raise PersonalOrganization()
    if target.role == OWNER:
        _require_another_owner(target)
    if role == OWNER:
        _require_active(target)
    before, target.role = target.role, role
    target.save(update_fields=["role"])
    if not role_may(role, "members.invite"):
        _end_invitations(organization, target)
    _record("organization.role_changed", target, before={"role": before}, after={"role": role})
    if by is None or by.pk != target.user_id:
        words = Membership.Role(role).label
        mails.mail_notice(user=target.user, kind="role_changed", organization=organization.name, role=str(words))
    return target


@transaction.atomic
def remove_member(*, membership: Membership, by: User | None) -> None:
    """Take somebody out: their keys there end with it, and their sessions fall back to their personal organization.

    by: None for the staff of the site. Raises RoleRequired, LastOwner, PersonalOrganization, NotFound.
    """
    organization, target = _lock(membership)
    acting = require_right_in(organization, by, "members.change")
    if target.role == OWNER:
        _require_owner(acting)
    _remove(organization, target, "organization.member_removed")
    mails.mail_notice(user=target.user, kind="member_removed", organization=organization.name)


@transaction.atomic
def leave_organization(*, organization: Organization, user: User) -> None:
    """Raises LastOwner, PersonalOrganization (by its person), NotFound."""
    organization = lock_organization(organization)
    _remove(organization, find_membership(organization=organization, user=user), "organization.member_left")


@transaction.atomic
def transfer_ownership(*, organization: Organization, by: User, to: Membership) -> None:
    """Make another member the owner in place of `by`, who stays as admin. Both are told, and the other owners.

    Raises RoleRequired, PersonalOrganization, NotFound, Conflict (to oneself, to an owner, or to nobody who logs in).
    """
    organization, target = _lock(to)
    mine = find_membership(organization=organization, user=by)
    if not role_may(mine.role, "owners.change"):
        raise RoleRequired(required_roles=list(roles_with("owners.change")), role=mine.role)
    if organization.personal_owner_id is not None:
        raise PersonalOrganization()
    if target.role == OWNER:
        raise Conflict("They own the organization already.")
    _require_active(target)
    before = target.role
    target.role, mine.role = OWNER, ADMIN
    target.save(update_fields=["role"])
    mine.save(update_fields=["role"])
    for changed, was in ((target, before), (mine, OWNER)):
        _record("organization.role_changed", changed, before={"role": was}, after={"role": changed.role})
    _record(
        "organization.ownership_transferred",
        target,
        before={"owner": by.public_id},
        after={"owner": target.user.public_id},
    )
    facts = {"organization": organization.name, "new_owner": target.user.name, "former_owner": by.name}
    owners = Membership.objects.of_organization(organization).owners()
    for user in [by, *(one.user for one in owners)]:
        mails.mail_notice(user=user, kind="ownership_transferred", **facts)


def _lock(membership: Membership) -> tuple[Organization, Membership]:
    """The organization, locked, and the place as it is now. Raises NotFound for one that has gone meanwhile."""
    organization = lock_organization(membership.organization)
    found: Membership | None = Membership.objects.of_organization(organization).filter(pk=membership.pk).first()
    if found is None:
        raise NotFound()
    return organization, found


def _remove(organization: Organization, target: Membership, action: str) -> None:
    if target.user_id == organization.personal_owner_id:
        raise PersonalOrganization()
    if target.role == OWNER:
        _require_another_owner(target)
    _record(action, target, before={"role": target.role})
    _end_invitations(organization, target)
    target.delete()


def _end_invitations(organization: Organization, inviter: Membership) -> None:
    """What somebody offered who may no longer invite is offered no more."""
    organization.invitations.unanswered().filter(invited_by=inviter.user_id).update(revoked_at=now())


def _require_owner(role: str | None) -> None:
    """role: of whoever acts; None for the staff of the site."""
    if role is not None and not role_may(role, "owners.change"):
        raise RoleRequired(
            "Only owners make and unmake owners.", required_roles=list(roles_with("owners.change")), role=role
        )


def _require_another_owner(target: Membership) -> None:
    """One who logs in. That there is any says the database too, at the end: `organization_has_an_owner`."""
    others = Membership.objects.filter(organization=target.organization, user__is_active=True).owners()
    if not others.exclude(pk=target.pk).exists():
        raise LastOwner()


def _require_active(target: Membership) -> None:
    if not target.user.is_active:
        raise Conflict("Their account is switched off, so they cannot own an organization.")


def _record(
    action: str, membership: Membership, *, before: dict[str, str] | None = None, after: dict[str, str] | None = None
) -> None:
    who = {"user": encode("usr", membership.user_id)}
    record(
        action,
        target_type="membership",
        target_id=membership.pk,
        organization_id=membership.organization_id,
        subject_user_id=membership.user_id,
        before=None if before is None else who | before,
        after=None if after is None else who | after,
    )
