"""People, organizations and keys for tests, with valid defaults."""

from __future__ import annotations

from typing import Any

from accounts import services as accounts
from accounts.models import Membership, Organization, User
from apikeys import services
from apikeys.models import APIKey
from common import clock
from common.ids import uuid7

EVERYTHING = list(services.PERMISSIONS)


def make_person(*, organization: Organization | None = None, role: str = "owner", **fields: Any) -> User:
    """A person: owner of an organization of their own, and of `organization` a member with `role` if it is given."""
    values = {"name": "Ada Lovelace", "platform_role": "developer", **fields}
    user = User.objects.create_user(f"{uuid7()}@example.org", "a long password", **values)
    accounts.ensure_personal_organization(user=user)
    if organization is not None:
        Membership.objects.create(organization=organization, user=user, role=role)
    return user


def make_key(
    *, user: User | None = None, organization: Organization | None = None, **values: Any
) -> tuple[APIKey, str]:
    user = user or make_person()
    organization = organization or user.personal_organization
    return services.issue_key(organization=organization, user=user, **{"name": "production", **values})


def make_listing(publisher: Organization, *, is_public: bool = False) -> Any:
    """A model of the catalogue, an app that this one does not import."""
    ai_model = publisher.ai_models.create(name="Mood", slug="mood", description="Tells it.", category="other")
    if is_public:
        ai_model.current_version = ai_model.versions.create(version="1.0.0")
        ai_model.status, ai_model.published_at = "published", clock.now()
        ai_model.save()
    return ai_model
