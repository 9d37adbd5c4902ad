"""A person as they see themselves."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from accounts.models import Organization, User
from accounts.services.addresses import is_verified
from accounts.services.events import record_about


@dataclass(frozen=True, slots=True)
class Profile:
    """A person in the organization they act for, with the keys there that they made and nobody has revoked."""

    user: User
    organization: Organization
    organization_role: str
    is_email_verified: bool
    api_key_ids: list[UUID]


def profile_of(*, user: User, organization: Organization, role: str) -> Profile:
    # The keys belong to an app above this one; the relation is read, nothing is imported.
    keys = user.api_keys.filter(organization=organization, revoked_at=None).order_by("id")
    return Profile(
        user=user,
        organization=organization,
        organization_role=role,
        is_email_verified=is_verified(user, user.email),
        api_key_ids=list(keys.values_list("id", flat=True)),
    )


@transaction.atomic
def update_profile(*, user: User, name: str) -> None:
    """Change the name that others see."""
    if name != user.name:
        record_about("changed", user, before={"name": user.name}, after={"name": name})
    user.name = name
    user.save(update_fields=["name", "updated_at"])
