"""Verify, issue, change, rotate and revoke keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import services as accounts
from accounts.models import Budget, Membership, Organization, User, role_may, roles_with
from apikeys.errors import IPNotAllowed, KeyExpired, KeyNotActive, KeyRevoked, KeyTooWide, KeyUnknown
from apikeys.models import DEFAULT_PERMISSIONS, PERMISSIONS, APIKey, scopes_of_role
from apikeys.services.digests import candidate_digests, make_secret, stored, wrapped
from apikeys.services.reminders import reminder_due
from common import clock
from common.clock import ClockNow
from common.ids import decode, uuid7
from common.problems import Conflict, FieldError, InvalidCredentials, RoleRequired, ValidationFailed
from common.spending import SpendLimit
from observability.services import changes as changes_between
from observability.services import record

DEFAULT_OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 7 * 86_400
MAX_NAME_LENGTH = 80
MAX_ALLOWED = 100  # models, addresses
MAX_RATE_LIMIT = 1_000_000  # calls a minute


# --- Use --------------------------------------------------------------------------------------------------------------


def verify_key(secret: str, *, address: str, at: datetime) -> APIKey:
    """The key with this secret, if it may be used from `address` at `at`, its user and organization read with it.

    Raises KeyMalformed, KeyUnknown, KeyRevoked, KeyExpired or InvalidCredentials (its person or organization is gone),
    all 401, or IPNotAllowed.
    """
    digests = candidate_digests(secret)
    key: APIKey | None = APIKey.objects.with_digest(digests).select_related("user", "organization").first()
    if key is None:
        raise KeyUnknown()
    if key.revoked_at is not None:
        raise KeyRevoked()
    if bytes(key.digest) not in digests and (key.overlap_until is None or key.overlap_until <= at):
        raise KeyRevoked("This secret was replaced by a rotation, and the time of overlap has ended.")
    if key.is_expired(at):
        raise KeyExpired()
    if not key.user.is_active or key.organization.closed_at is not None:
        raise InvalidCredentials("The person or the organization that this key belongs to is no longer there.")
    if key.allowed_ips and not _is_within(address, key.allowed_ips):
        raise IPNotAllowed()
    return key


def _is_within(address: str, networks: Iterable[str]) -> bool:
    return bool(address) and any(ip_address(address) in ip_network(network) for network in networks)


# --- Issue and change -------------------------------------------------------------------------------------------------


@transaction.atomic
def issue_key(
    *,
    organization: Organization,
    user: User,
    name: str,
    permissions: Sequence[str] = DEFAULT_PERMISSIONS,
    mode: str = "live",
    expires_at: datetime | None = None,
    allowed_models: Sequence[str | UUID] = (),
    allowed_ips: Sequence[str] = (),
    rate_limit: int | None = None,
    spend_limit: SpendLimit | None = None,
    by: APIKey | None = None,
    id: UUID | None = None,
) -> tuple[APIKey, str]:
    """A new key of the organization, made by `user`, and its secret, which is not kept.

    allowed_models: ids, `mdl_…`, `publisher:slug` or `publisher/slug`; none: all. allowed_ips: addresses or networks.
    rate_limit: calls a minute. by: the key that asks, if a key does. id: the UUIDv7 it shall have, so that a wish that
    is sent twice makes one key. Raises ValidationFailed, KeyTooWide, or Conflict when there is a key with this id.
    """
    values = _checked(
        {
            "name": name,
            "permissions": permissions,
            "expires_at": expires_at,
            "allowed_models": allowed_models,
            "allowed_ips": allowed_ips,
            "rate_limit": rate_limit,
        },
        organization=organization,
        role=_role_of(user, organization),
        at=clock.now(),
    )
    secret = make_secret(mode)
    key = APIKey(id=id or uuid7(), organization=organization, user=user, mode=mode, **values, **stored(secret))
    _refuse_wider(key, by)
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:
        if id is None or not APIKey.objects.filter(pk=id).exists():
            raise
        raise Conflict("A key was made with this id before.") from error
    if spend_limit is not None:
        _set_spend_limit(key, spend_limit)
    _record("key.created", key, after=_facts(key))
    key.refresh_from_db(fields=["created_at"])
    return key, secret


@transaction.atomic
def change_key(*, key: APIKey, changes: Mapping[str, Any], by: APIKey | None = None) -> APIKey:
    """Change what `changes` names: the arguments of `issue_key` without mode; None takes a limit away.

    Raises ValidationFailed, KeyNotActive, KeyTooWide.
    """
    key = APIKey.objects.select_for_update(of=("self",)).select_related("user", "organization").get(pk=key.pk)
    if key.revoked_at is not None:
        raise KeyNotActive("The key was revoked.")
    wanted = dict(changes)
    has_spend_limit = "spend_limit" in wanted
    spend_limit = wanted.pop("spend_limit", None)
    _refuse_wider(key, by)
    values = _checked(wanted, organization=key.organization, role=_role_of(key.user, key.organization), at=clock.now())
    was = _facts(key)
    for name, value in values.items():
        setattr(key, name, value)
    _refuse_wider(key, by)
    key.save(update_fields=[*values, "updated_at"])
    if has_spend_limit:
        _set_spend_limit(key, spend_limit)
    before, after = changes_between(was, _facts(key))
    if after:
        _record("key.changed", key, before=before, after=after)
    return key


@transaction.atomic
def rotate_key(
    *, key: APIKey, overlap_seconds: int = DEFAULT_OVERLAP_SECONDS, by: APIKey | None = None
) -> tuple[APIKey, str]:
    """Give the key a new secret, which is not kept; the old one works for `overlap_seconds` more (0: ends at once).

    A secret that was still in its overlap ends now. Raises KeyNotActive, KeyTooWide, or Conflict on a race.
    """
    at = clock.now()
    if key.revoked_at is not None or key.is_expired(at):
        raise KeyNotActive("The key was revoked." if key.revoked_at is not None else "The key has expired.")
    _refuse_wider(key, by)
    secret = make_secret(key.mode)
    values = stored(secret) | {"previous_digest": None, "overlap_until": None, "updated_at": at}
    if overlap_seconds > 0:
        values["previous_digest"] = wrapped(key.digest, key.pepper_id)
        values["overlap_until"] = at + timedelta(seconds=overlap_seconds)
    if not APIKey.objects.filter(pk=key.pk, digest=key.digest, revoked_at=None).update(**values):
        raise Conflict("The key was rotated or revoked at the same time. Read it again.")
    was = str(key)
    key.refresh_from_db()
    _record("key.rotated", key, before={"key": was}, after={"key": str(key), "overlap_until": key.overlap_until})
    return key, secret


@transaction.atomic
def revoke_key(*, key: APIKey, reason: str = "") -> APIKey:
    """End the key, its secrets of an overlap too. Repeating it changes nothing. reason: for the audit log."""
    revoked = APIKey.objects.filter(pk=key.pk, revoked_at=None).update(
        revoked_at=ClockNow(), remind_at=None, previous_digest=None, overlap_until=None, updated_at=ClockNow()
    )
    key.refresh_from_db()
    if revoked:
        after = {"reason": reason} if reason else None
        _record("key.revoked", key, before={"name": key.name, "key": str(key)}, after=after)
    return key


def require_control(*, key: APIKey, user: User, role: str | None) -> None:
    """Everyone may change the keys they made; those of others need an owner or admin. Raises RoleRequired."""
    if key.user_id != user.pk and not role_may(role, "keys.manage"):
        needed = list(roles_with("keys.manage"))
        raise RoleRequired("Someone else made this key.", required_roles=needed, role=role)


# --- What a key may be ------------------------------------------------------------------------------------------------


def _role_of(user: User, organization: Organization) -> str:
    return Membership.objects.filter(user=user, organization=organization).values_list("role", flat=True).first() or ""


def _checked(values: Mapping[str, Any], *, organization: Organization, role: str, at: datetime) -> dict[str, Any]:
    """`values` as columns. Raises ValidationFailed with every fault."""
    faults: list[FieldError] = []
    columns = dict(values)
    if "permissions" in columns:
        columns["permissions"] = _checked_permissions(columns["permissions"], role, faults)
    if (expires_at := columns.get("expires_at")) is not None and expires_at <= at:
        faults.append({"pointer": "/expires_at", "code": "in_the_past", "detail": "Give an instant in the future."})
    if "allowed_models" in columns:
        columns["allowed_models"] = _find_models(columns["allowed_models"] or (), organization, faults)
    if "allowed_ips" in columns:
        columns["allowed_ips"] = _checked_networks(columns["allowed_ips"] or (), faults)
    if "expires_at" in columns:
        columns["remind_at"] = reminder_due(columns["expires_at"], at)
    if faults:
        raise ValidationFailed(errors=faults)
    return columns


def _checked_permissions(permissions: Sequence[str], role: str, faults: list[FieldError]) -> list[str]:
    within = scopes_of_role(role)
    for position, permission in enumerate(permissions):
        if permission not in within:
            detail = f"Your role in this organization does not cover {permission}."
            faults.append({"pointer": f"/permissions/{position}", "code": "beyond_role", "detail": detail})
    return [permission for permission in PERMISSIONS if permission in permissions]


def _checked_networks(texts: Sequence[str], faults: list[FieldError]) -> list[str]:
    networks = []
    for position, text in enumerate(texts):
        try:
            networks.append(str(ip_network(text.strip(), strict=False)))
        except ValueError:
            detail = "Give an address or a network, such as 203.0.113.8 or 2001:db8::/32."
            faults.append({"pointer": f"/allowed_ips/{position}", "code": "invalid", "detail": detail})
    return list(dict.fromkeys(networks))


def _find_models(names: Sequence[str | UUID], organization: Organization, faults: list[FieldError]) -> list[UUID]:
    """The ids of models that the organization may see."""
    wanted = [_model_reference(name) for name in names]
    ids = [name for name in wanted if isinstance(name, UUID)]
    slugs = [name for name in wanted if isinstance(name, tuple)]
    by_name = Q(id__in=ids)
    for publisher, slug in slugs:
        by_name |= Q(publisher__slug=publisher, slug=slug)
    found: dict[Any, UUID] = {}
    if wanted:
        for id, publisher, slug in (
            _catalogue().visible_to(organization).filter(by_name).values_list("id", "publisher__slug", "slug")
        ):
            found[id] = found[publisher, slug] = id
    for position, name in enumerate(wanted):
        if name not in found:
            detail = "There is no such model, or you may not see it."
            faults.append({"pointer": f"/allowed_models/{position}", "code": "unknown_model", "detail": detail})
    return list(dict.fromkeys(found[name] for name in wanted if name in found))


def names_of_models(ids: Iterable[UUID]) -> dict[UUID, str]:
    """`publisher/slug` of each of these models that is still there, by id."""
    ids = list(ids)
    if not ids:
        return {}
    found = _catalogue().filter(id__in=ids).values_list("id", "publisher__slug", "slug")
    return {id: f"{publisher}/{slug}" for id, publisher, slug in found}


def _catalogue() -> Any:
    """It is no app of ours to import, and is reached through the relation that organizations have to it."""
    return Organization._meta.get_field("ai_models").related_model._default_manager


def _model_reference(name: str | UUID) -> UUID | tuple[str, str]:
    """An id, or publisher and slug."""
    if isinstance(name, UUID):
        return name
    try:
        return decode("mdl", name)
    except ValueError:
        publisher, _, slug = name.replace("/", ":", 1).partition(":")
        return publisher, slug


def _refuse_wider(key: APIKey, by: APIKey | None) -> None:
    """Raises KeyTooWide where `key` would let someone do what the key that asks may not."""
    if by is None:
        return
    scopes = by.effective_scopes(_role_of(by.user, by.organization))
    if beyond := sorted(set(key.permissions) - scopes):
        raise KeyTooWide(f"This key itself lacks {', '.join(beyond)}.")
    if by.mode == "test" and key.mode == "live":
        raise KeyTooWide("A test key cannot make or change live keys.")
    if by.expires_at is not None and (key.expires_at is None or key.expires_at > by.expires_at):
        raise KeyTooWide("The key would outlive the key that asks for it.")
    if by.allowed_models and not (key.allowed_models and set(key.allowed_models) <= set(by.allowed_models)):
        raise KeyTooWide("This key is limited to certain models, and the other would not be.")
    if by.allowed_ips and not (key.allowed_ips and all(_is_inside(ip, by.allowed_ips) for ip in key.allowed_ips)):
        raise KeyTooWide("This key is limited to certain addresses, and the other would not be.")
    if by.rate_limit is not None or _has_spend_limit(by):
        raise KeyTooWide("A key with a rate or spend limit of its own cannot make or change keys.")


def _is_inside(network: str, others: Iterable[str]) -> bool:
    inner = ip_network(network)
    return any(
        inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
        for outer in map(ip_network, others)
    )


def _set_spend_limit(key: APIKey, limit: SpendLimit | None) -> None:
    accounts.set_spend_limit(
        subject_kind=Budget.SubjectKind.KEY,
        subject_id=key.pk,
        limit_nano=None if limit is None else limit.limit_nano,
        window=Budget.Window.MONTH if limit is None else limit.window,
        time_zone=key.organization.time_zone,
    )


def _facts(key: APIKey) -> dict[str, Any]:
    """What an event says of a key; never its secret."""
    limit = accounts.spend_limits_of([key.pk]).get(key.pk)
    names = ("name", "mode", "permissions", "expires_at", "allowed_models", "allowed_ips", "rate_limit")
    return {name: getattr(key, name) for name in names} | {
        "key": str(key),
        "spend_limit_nano": limit.limit if limit else None,
        "spend_window": limit.window if limit else None,
    }


def _record(action: str, key: APIKey, **states: Any) -> None:
    """In the log of the organization and of the person who made the key."""
    record(action, target=key, organization_id=key.organization_id, subject_user_id=key.user_id, **states)


def _has_spend_limit(key: APIKey) -> bool:
    return Budget.objects.of_subject(key.pk).filter(purpose=Budget.Purpose.SPEND_LIMIT, closed_at=None).exists()
