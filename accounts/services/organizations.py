"""Organizations, and which one a person acts for."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from uuid import UUID
from zoneinfo import available_timezones

from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.utils.text import slugify

from accounts.models import Membership, Organization, User
from common.ids import decode
from common.problems import FieldError, NotFound, ValidationFailed

MAX_SLUG = 40
SUFFIX_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"
# Slugs that would pass for the site itself, or for the demo's publisher, who takes its own by name.
# fmt: off
RESERVED_SLUGS = frozenset((
    "about", "accounts", "admin", "agorai", "api", "billing", "compare", "demo", "dev", "docs", "help", "keys",
    "login", "logout", "models", "official", "publish", "root", "security", "settings", "signup", "staff", "status",
    "support", "system", "team", "usage", "www",
))
# fmt: on


@transaction.atomic
def create_organization(*, owner: User, name: str, slug: str | None = None, is_personal: bool = False) -> Organization:
    """An organization with its first owner. Without a `slug` a free one is made from the name.

    Raises IntegrityError when the given slug is taken, or the owner has a personal organization already.
    """
    fields = {"name": name, "personal_owner": owner if is_personal else None, "time_zone": settings.TIME_ZONE}
    if slug is not None:
        organization = Organization.objects.create(slug=slug, **fields)
    else:
        organization = _create_with_free_slug(_slug_of(name), fields)
    Membership.objects.create(organization=organization, user=owner, role=Membership.Role.OWNER)
    return organization


@transaction.atomic
def ensure_personal_organization(*, user: User) -> Organization:
    """The user's own organization, made now if a command or the admin made the user without one."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    found = Organization.objects.filter(personal_owner=user).first()
    return found or create_organization(owner=user, name=user.name, is_personal=True)


def resolve_actor(user: User, organization_id: str | None) -> tuple[Organization, str]:
    """The organization that `user` acts for, and the role there. None means the personal one.

    organization_id: `org_…`. Raises NotFound when it is malformed, closed, missing or not one of the user's.
    """
    memberships = Membership.objects.filter(user=user, organization__closed_at=None).select_related("organization")
    if organization_id is None:
        membership = memberships.filter(organization__personal_owner=user).first()
        if membership is None:
            return ensure_personal_organization(user=user), Membership.Role.OWNER.value
    else:
        membership = memberships.filter(organization=_read_id(organization_id)).first()
        if membership is None:
            raise NotFound("There is no such organization, or you are not in it.")
    return membership.organization, membership.role


@transaction.atomic
def update_organization(*, organization: Organization, name: str, time_zone: str) -> None:
    """Change the name and the zone of reports. Spend limits keep the zone they were set in until they are set again.

    Raises ValidationFailed when the zone is unknown here or to the database.
    """
    if not is_time_zone(time_zone):
        fault = FieldError(pointer="/time_zone", code="invalid", detail="Choose a time zone such as Europe/Berlin.")
        raise ValidationFailed(errors=[fault])
    organization.name, organization.time_zone = name, time_zone
    organization.save(update_fields=["name", "time_zone", "updated_at"])


def is_time_zone(name: str) -> bool:
    """Whether both we and the database, whose copy of the zones may be older, know this zone."""
    if name not in available_timezones():
        return False
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT budget_window('day', %s, clock_now())", [name])
    except DataError:
        return False
    return True


def _read_id(text: str) -> UUID:
    try:
        return decode("org", text)
    except ValueError:
        raise NotFound("There is no such organization, or you are not in it.") from None


def _slug_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", slugify(name)).strip("-")[:MAX_SLUG].strip("-")


def _create_with_free_slug(wanted: str, fields: dict[str, object]) -> Organization:
    for slug in _candidates(wanted):
        if Organization.objects.filter(slug=slug).exists():
            continue
        try:
            with transaction.atomic():
                return Organization.objects.create(slug=slug, **fields)
        except IntegrityError:
            if not Organization.objects.filter(slug=slug).exists():
                raise  # it was not about the slug
    raise AssertionError("the candidates do not end")


def _candidates(wanted: str) -> Iterator[str]:
    """The wanted slug, then ever new ones with a random suffix; a name in another script gets the suffix alone."""
    if wanted and wanted not in RESERVED_SLUGS:
        yield wanted
    stem = wanted[: MAX_SLUG - 6].strip("-") or "org"
    while True:
        yield f"{stem}-{''.join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))}"
