"""Who may do what in an organization. The table itself is `accounts.models.ROLE_TABLE`."""

from __future__ import annotations

from accounts.models import Membership, Organization, User, role_may, roles_with
from common.problems import NotFound, RoleRequired


def require_right(role: str | None, right: str) -> None:
    """Raises RoleRequired, which names the roles that would do."""
    if not role_may(role, right):
        raise RoleRequired(required_roles=list(roles_with(right)), role=role)


def find_membership(*, organization: Organization, user: User) -> Membership:
    """The person's place in it. Raises NotFound: whoever is not in an organization learns nothing about it."""
    found: Membership | None = Membership.objects.filter(organization=organization, user=user).first()
    if found is None:
        raise NotFound("There is no such organization, or you are not in it.")
    return found


def lock_organization(organization: Organization) -> Organization:
    """The organization as it is now; nobody else changes who is in it before this transaction has ended.

    Raises NotFound for one that is closed or gone.
    """
    found: Organization | None = (
        Organization.objects.open().select_for_update(no_key=True).filter(pk=organization.pk).first()
    )
    if found is None:
        raise NotFound("There is no such organization, or you are not in it.")
    return found


def require_right_in(organization: Organization, by: User | None, right: str) -> str | None:
    """The role of `by` there, looked up now; None for the staff of the site, who may all of it. Raises RoleRequired."""
    if by is None:
        return None
    role: str = find_membership(organization=organization, user=by).role
    require_right(role, right)
    return role
