"""The end of an organization. Its name, calls, invoices and audit log stay; nobody acts for it any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils.translation import gettext, ngettext

from accounts.errors import OrganizationInUse, PersonalOrganization
from accounts.models import Budget, Membership, Organization, User
from accounts.services import mails
from accounts.services.rights import lock_organization, require_right_in
from common.clock import now
from common.money import display
from observability.services import record

#: States of a model in which others meet it, or soon may.
LISTED = ("in_review", "published", "deprecated", "suspended")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an organization cannot be closed yet. code: keys, models or calls."""

    code: str
    detail: str


def obstacles_to_closing(organization: Organization, at: datetime) -> list[Obstacle]:
    """What still works, is listed or runs in the organization's name."""
    # Keys and models belong to apps above this one; the relations are read, nothing is imported.
    keys = organization.api_keys.usable(at).count()
    listed = organization.ai_models.filter(status__in=LISTED).count()
    held = Budget.objects.of_subject(organization.pk).aggregate(held=Sum("held"))["held"] or 0
    found = []
    if keys:
        words = ngettext("%(count)d key works; revoke it.", "%(count)d keys work; revoke them.", keys)
        found.append(Obstacle("keys", words % {"count": keys}))
    if listed:
        words = ngettext("%(count)d model is listed; archive it.", "%(count)d models are listed; archive them.", listed)
        found.append(Obstacle("models", words % {"count": listed}))
    if held:
        words = gettext("%(amount)s is held for calls that run; wait until they have ended.")
        found.append(Obstacle("calls", words % {"amount": display(held, settings.CURRENCY)}))
    return found


@transaction.atomic
def close_organization(*, organization: Organization, by: User) -> Organization:
    """For good: its keys are refused, its invitations end, and everybody in it is told.

    Raises RoleRequired, PersonalOrganization, OrganizationInUse (with the reasons), NotFound.
    """
    organization = lock_organization(organization)
    require_right_in(organization, by, "organization.close")
    if organization.personal_owner_id is not None:
        raise PersonalOrganization()
    at = now()
    if found := obstacles_to_closing(organization, at):
        reasons = [{"code": one.code, "detail": one.detail} for one in found]
        raise OrganizationInUse(" ".join(one.detail for one in found), reasons=reasons)
    return end_organization(organization=organization, at=at)


@transaction.atomic
def end_organization(*, organization: Organization, at: datetime) -> Organization:
    """Close it whatever it is used for: with the account of its person, or by the staff. Repeating it is harmless."""
    if not Organization.objects.open().filter(pk=organization.pk).update(closed_at=at):
        return organization
    organization.closed_at = at
    organization.invitations.unanswered().update(revoked_at=at)
    record("organization.closed", target=organization, organization_id=organization.pk)
    for place in Membership.objects.of_organization(organization):
        mails.mail_notice(user=place.user, kind="organization_closed", organization=organization.name)
    return organization
