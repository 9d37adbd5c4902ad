"""Organizations, and which one a person acts for."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.utils.text import slugify

from accounts.models import Budget, Membership, Organization, User
from accounts.services.budgets import move_limits, set_spend_limit, spend_limits_of
from accounts.services.rights import lock_organization
from common import limiter
from common.ids import decode
from common.problems import FieldError, NotFound, RateLimited, ValidationFailed
from observability.services import changes as changes_between
from observability.services import record

MAX_SLUG = 40
SLUG = re.compile(r"[a-z0-9](-?[a-z0-9])*", re.ASCII)
SLUG_TAKEN = FieldError(pointer="/slug", code="taken", detail="This short name is taken. Choose another one.")
STARTED_PER_DAY = 20
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
    organization.refresh_from_db(fields=["created_at"])
    if not is_personal:
        record(
            "organization.created",
            target=organization,
            organization_id=organization.pk,
            subject_user_id=owner.pk,
            after={"slug": organization.slug, "name": organization.name},
        )
    return organization


@transaction.atomic
def start_organization(*, by: User, name: str, slug: str | None = None, time_zone: str | None = None) -> Organization:
    """A shared organization of a person who asks for one, and owns it.

    Raises ValidationFailed for a slug that is taken, reserved or no slug, or an unknown zone, and RateLimited.
    """
    allowance = limiter.check(f"organizations:{by.pk.hex}", STARTED_PER_DAY, 86_400, name="organizations")
    if not allowance.allowed:
        detail = f"At most {STARTED_PER_DAY} new organizations a day."
        raise RateLimited(detail, retry_after_seconds=allowance.retry_after_seconds)
    if slug is not None:
        _check_slug(slug)
    if time_zone is not None:
        _check_time_zone(time_zone)
    try:
        with transaction.atomic():
            made = create_organization(owner=by, name=name, slug=slug)
    except IntegrityError:
        if slug is None or not Organization.objects.filter(slug=slug).exists():
            raise
        raise ValidationFailed(errors=[SLUG_TAKEN]) from None  # by somebody who was faster
    if time_zone is not None:
        Organization.objects.filter(pk=made.pk).update(time_zone=time_zone)
        made.time_zone = time_zone
    return made


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
def update_organization(*, organization: Organization, name: str | None = None, time_zone: str | None = None) -> None:
    """Change the name or the time zone; None leaves it as it is. The spend limits of the organization, its keys and its
    deployments follow: the present window ends with the day, week or month of the new zone.

    Raises ValidationFailed when the zone is unknown here or to the database, and NotFound (it is closed).
    """
    if time_zone is not None:
        _check_time_zone(time_zone)
    row = lock_organization(organization)  # what somebody else changed meanwhile stays
    was = {"name": row.name, "time_zone": row.time_zone}
    given = {"name": name, "time_zone": time_zone}
    wanted = was | {field: value for field, value in given.items() if value is not None}
    organization.name, organization.time_zone = wanted["name"], wanted["time_zone"]
    before, after = changes_between(was, wanted)
    if after:
        organization.save(update_fields=[*after, "updated_at"])
        record("organization.changed", target=organization, organization_id=organization.pk, before=before, after=after)
    if "time_zone" in after:
        move_limits(subject_ids=_limited(organization), time_zone=organization.time_zone)


@transaction.atomic
def limit_spending(*, organization: Organization, limit_nano: int | None, window: str = Budget.Window.MONTH) -> None:
    """What the organization may spend in a window of its calendar; None lifts the limit. limit_nano: >= 0."""
    old = spend_limits_of([organization.pk]).get(organization.pk)
    set_spend_limit(
        subject_kind=Budget.SubjectKind.ORGANIZATION,
        subject_id=organization.pk,
        limit_nano=limit_nano,
        window=window,
        time_zone=organization.time_zone,
    )
    was = {} if old is None else {"limit_nano": old.limit, "window": old.window}
    wanted = {} if limit_nano is None else {"limit_nano": limit_nano, "window": window}
    if was != wanted:
        record(
            "organization.limit_changed", target=organization, organization_id=organization.pk, before=was, after=wanted
        )


@transaction.atomic
def change_organization(*, organization: Organization, changes: Mapping[str, Any]) -> None:
    """What `changes` names of name, time_zone and spend_limit: `limit_nano` and `window`, or None to lift it."""
    update_organization(organization=organization, name=changes.get("name"), time_zone=changes.get("time_zone"))
    if "spend_limit" in changes:
        limit_spending(organization=organization, **(changes["spend_limit"] or {"limit_nano": None}))


def _limited(organization: Organization) -> Iterator[UUID]:
    """Whatever may have a limit in the organization's calendar. Keys and deployments belong to apps above this one; the
    relations are read, nothing is imported."""
    yield organization.pk
    yield from organization.api_keys.values_list("pk", flat=True)
    yield from organization.deployments.values_list("pk", flat=True)


def _check_time_zone(name: str) -> None:
    if not is_time_zone(name):
        fault = FieldError(pointer="/time_zone", code="invalid", detail="Choose a time zone such as Europe/Berlin.")
        raise ValidationFailed(errors=[fault])


def _check_slug(slug: str) -> None:
    if not SLUG.fullmatch(slug) or len(slug) > MAX_SLUG:
        detail = f"At most {MAX_SLUG} of a–z, 0–9 and single hyphens between them."
        raise ValidationFailed(errors=[FieldError(pointer="/slug", code="invalid", detail=detail)])
    if slug in RESERVED_SLUGS or Organization.objects.filter(slug=slug).exists():
        raise ValidationFailed(errors=[SLUG_TAKEN])


@transaction.atomic
def set_rate_limit(*, organization: Organization, rate_limit: int | None) -> None:
    """How many requests a minute all its keys and people together may send; None: as many as the site says.

    In force within a second.
    """
    row = Organization.objects.select_for_update(no_key=True).filter(pk=organization.pk)
    before = row.values_list("rate_limit", flat=True).get()
    row.update(rate_limit=rate_limit)
    record(
        "organization.rate_limit_changed",
        target=organization,
        organization_id=organization.pk,
        before={"rate_limit": before},
        after={"rate_limit": rate_limit},
    )


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
