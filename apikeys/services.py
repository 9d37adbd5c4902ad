"""Issue, verify, change, rotate and revoke keys.

A secret is `agr_live_` or `agr_test_`, 32 random characters and 6 of a checksum over all before it, in base62. It is
stored as an HMAC chain over the peppers, from the oldest to the newest, so a new pepper wraps what is stored without
knowing the secrets; until a row is wrapped, its digest is found under the pepper that was the newest then.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import services as accounts
from accounts.models import Budget, Membership, Organization, User
from apikeys.errors import IPNotAllowed, KeyExpired, KeyMalformed, KeyNotActive, KeyRevoked, KeyTooWide, KeyUnknown
from apikeys.models import DEFAULT_PERMISSIONS, PERMISSIONS, APIKey, scopes_of_role
from common import clock
from common.clock import ClockNow
from common.ids import decode, uuid7
from common.problems import Conflict, FieldError, InvalidCredentials, RoleRequired, ValidationFailed
from observability.services import changes as changes_between
from observability.services import record

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
SHOWN_OF_RANDOM = 4

DEFAULT_OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 7 * 86_400
MAX_NAME_LENGTH = 80
MAX_ALLOWED = 100  # models, addresses
MAX_RATE_LIMIT = 1_000_000  # calls a minute
USED_AT_MOST_EVERY = timedelta(minutes=1)
WRAP_BATCH = 1000

_SECRET = re.compile(rf"agr_(?:live|test)_[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """What a key may spend in a window: `day`, `week`, `month` or `lifetime`."""

    limit_nano: int
    window: str = Budget.Window.MONTH


# --- The secret -------------------------------------------------------------------------------------------------------


def make_secret(mode: str) -> str:
    head = f"agr_{mode}_" + "".join(secrets.choice(BASE62) for _ in range(RANDOM_LENGTH))
    return head + checksum(head)


def checksum(head: str) -> str:
    """CRC-32 in base62. It keeps noise away from the database and lets scanners know a key; it is no protection."""
    number, digits = zlib.crc32(head.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def is_well_formed(secret: str) -> bool:
    return _SECRET.fullmatch(secret) is not None and checksum(secret[:-CHECKSUM_LENGTH]) == secret[-CHECKSUM_LENGTH:]


def candidate_digests(secret: str) -> list[bytes]:
    """Every digest under which a key with this secret may be stored, the newest pepper's first.

    Raises KeyMalformed, before anything is computed. Asks no database.
    """
    if not is_well_formed(secret):
        raise KeyMalformed()
    return [digest for _, digest in reversed(_chain(secret.encode(), _peppers()))]


def _peppers() -> list[tuple[str, bytes]]:
    """Id and bytes, from the oldest to the newest."""
    return list(reversed(settings.KEY_PEPPERS.items()))


def _chain(value: bytes, peppers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Id of each pepper and the digest after it."""
    links = []
    for pepper_id, pepper in peppers:
        value = hmac.digest(pepper, value, "sha256")
        links.append((pepper_id, value))
    return links


def _wrapped(digest: bytes | memoryview, pepper_id: str) -> bytes:
    """The digest under the newest pepper of what was stored under an older one. Raises ValueError for an unknown id."""
    peppers = _peppers()
    newer = peppers[[known for known, _ in peppers].index(pepper_id) + 1 :]
    return _chain(bytes(digest), newer)[-1][1] if newer else bytes(digest)


def _stored(secret: str) -> dict[str, Any]:
    """The columns that stand for a secret."""
    pepper_id, digest = _chain(secret.encode(), _peppers())[-1]
    shown = len("agr_live_") + SHOWN_OF_RANDOM
    return {"digest": digest, "pepper_id": pepper_id, "prefix": secret[:shown], "last_four": secret[-4:]}


def wrap_digests() -> int:
    """Bring every stored digest under the newest pepper. Returns how many rows changed; repeating it is harmless."""
    newest = _peppers()[-1][0]
    changed = 0
    while True:
        with transaction.atomic():
            batch = list(
                APIKey.objects.exclude(pepper_id=newest).order_by("id").select_for_update(skip_locked=True)[:WRAP_BATCH]
            )
            for key in batch:
                if key.previous_digest is not None:
                    key.previous_digest = _wrapped(key.previous_digest, key.pepper_id)
                key.digest, key.pepper_id = _wrapped(key.digest, key.pepper_id), newest
            APIKey.objects.bulk_update(batch, ["digest", "previous_digest", "pepper_id"])
        changed += len(batch)
        if len(batch) < WRAP_BATCH:
            return changed


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
        raise InvalidCredentials("The person or the organization that this key belongs to is no longer active.")
    if key.allowed_ips and not _is_within(address, key.allowed_ips):
        raise IPNotAllowed()
    return key


def _is_within(address: str, networks: Iterable[str]) -> bool:
    return bool(address) and any(ip_address(address) in ip_network(network) for network in networks)


@transaction.atomic
def touch_keys(ids: Iterable[UUID]) -> int:
    """Note that these keys were used just now, each at most once a minute. Returns how many rows changed."""
    due = APIKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lt=ClockNow() - USED_AT_MOST_EVERY), id__in=list(ids)
    )
    locked = due.order_by("id").select_for_update(skip_locked=True)
    return APIKey.objects.filter(id__in=locked.values("id")).update(last_used_at=ClockNow())


def is_use_due(key: APIKey, at: datetime) -> bool:
    """Whether `touch_keys` would write: saves the statement for a key that is used many times a minute."""
    return key.last_used_at is None or key.last_used_at < at - USED_AT_MOST_EVERY


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
    key = APIKey(id=id or uuid7(), organization=organization, user=user, mode=mode, **values, **_stored(secret))
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
    values = _stored(secret) | {"previous_digest": None, "overlap_until": None, "updated_at": at}
    if overlap_seconds > 0:
        values["previous_digest"] = _wrapped(key.digest, key.pepper_id)
        values["overlap_until"] = at + timedelta(seconds=overlap_seconds)
    if not APIKey.objects.filter(pk=key.pk, digest=key.digest, revoked_at=None).update(**values):
        raise Conflict("The key was rotated or revoked at the same time. Read it again.")
    was = str(key)
    key.refresh_from_db()
    _record("key.rotated", key, before={"key": was}, after={"key": str(key), "overlap_until": key.overlap_until})
    return key, secret


@transaction.atomic
def revoke_key(*, key: APIKey) -> APIKey:
    """End the key, its secrets of an overlap too. Repeating it changes nothing."""
    revoked = APIKey.objects.filter(pk=key.pk, revoked_at=None).update(
        revoked_at=ClockNow(), previous_digest=None, overlap_until=None, updated_at=ClockNow()
    )
    key.refresh_from_db()
    if revoked:
        _record("key.revoked", key, before={"name": key.name, "key": str(key)})
    return key


def require_control(*, key: APIKey, user: User, role: str | None) -> None:
    """Everyone may change the keys they made; those of others need an owner or admin. Raises RoleRequired."""
    if key.user_id != user.pk and role not in ("owner", "admin"):
        raise RoleRequired("Someone else made this key.", required_roles=["owner", "admin"], role=role)


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
    limit = spend_limits_of([key.pk]).get(key.pk)
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


def spend_limits_of(ids: Iterable[UUID]) -> dict[UUID, Budget]:
    """The budget, in its present window, of each of these keys that has a spend limit; by key."""
    return {
        budget.subject_id: budget
        for budget in accounts.current_budgets(ids)
        if budget.purpose == Budget.Purpose.SPEND_LIMIT
    }


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """The tightest of the limits that a key's calls must fit into. Amounts are nano-units.

    source: `key`, `organization` or `credit`. resets_at: when its window turns; None: never. own_nano: the key's own
    limit, if it has one.
    """

    source: str
    used_nano: int
    limit_nano: int
    window: str
    resets_at: datetime | None
    own_nano: int | None


def effective_limits(keys: Iterable[APIKey], *, organization: Organization) -> dict[UUID, EffectiveLimit]:
    """The tightest limit of each of the organization's keys, by key; a key that nothing limits is left out."""
    keys = list(keys)
    budgets = accounts.current_budgets([organization.pk, *(key.pk for key in keys)])
    shared = [budget for budget in budgets if budget.subject_id == organization.pk]
    tightest = {}
    for key in keys:
        own = [budget for budget in budgets if budget.subject_id == key.pk]
        if candidates := [*own, *shared]:
            budget = min(candidates, key=lambda candidate: candidate.left)
            is_credit = budget.purpose == Budget.Purpose.CREDIT
            tightest[key.pk] = EffectiveLimit(
                source="credit" if is_credit else str(budget.subject_kind),
                used_nano=budget.spent,
                limit_nano=budget.limit,
                window=budget.window,
                resets_at=budget.ends_at,
                own_nano=own[0].limit if own else None,
            )
    return tightest
