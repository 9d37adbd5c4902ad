"""Who is behind a key: all keys that are asked for at one time are read with one statement.

With many customers most calls meet a key that was not used in this second, so this is on the way of a call too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from uuid import UUID

from accounts.models import Organization
from apikeys.errors import IPNotAllowed, KeyExpired, KeyRevoked
from apikeys.models import scopes_of_role
from billing.services import ensure_account
from common.ids import encode
from common.limiter import Bucket
from common.limits import buckets_of_key
from common.problems import InvalidCredentials, ServiceUnavailable
from gateway.hotpath.batcher import Batcher, QueueFull
from gateway.hotpath.orm import run_in_django

Digests = tuple[bytes, ...]  # every one under which one secret may be stored
Rows = Callable[[str, Any], Awaitable[list[dict[str, Any]]]]

#: The latest row of each budget in force, of an organization and a key of its.
KEYS = """
SELECT k.digest, k.previous_digest, k.id, k.organization_id, k.user_id, k.mode, k.permissions, k.allowed_models,
       k.allowed_ips, k.rate_limit, m.role, o.rate_limit AS organization_limit,
       k.revoked_at IS NOT NULL AS is_revoked,
       NOT u.is_active OR o.closed_at IS NOT NULL OR m.role IS NULL AS is_orphaned,
       extract(epoch FROM k.expires_at - clock_now())::float AS expires_in,
       extract(epoch FROM k.overlap_until - clock_now())::float AS overlap_in,
       b.ids AS budget_ids, b.has_credit
  FROM apikeys_apikey k
  JOIN accounts_organization o ON o.id = k.organization_id
  JOIN accounts_user u ON u.id = k.user_id
  LEFT JOIN accounts_membership m ON m.organization_id = k.organization_id AND m.user_id = k.user_id
 CROSS JOIN LATERAL (
       SELECT array_agg(x.id) AS ids, bool_or(x.purpose = 'credit') AS has_credit
         FROM (SELECT DISTINCT ON (subject_id, purpose, "window") id, purpose FROM accounts_budget
                WHERE subject_id IN (k.organization_id, k.id) AND closed_at IS NULL
                ORDER BY subject_id, purpose, "window", starts_at DESC) x) b
 WHERE k.digest = ANY(%(digests)s) OR k.previous_digest = ANY(%(digests)s)
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes the call, and within which limits. Ages are instants of this process's monotonic clock."""

    organization_id: UUID
    user_id: UUID
    api_key_id: UUID | None = None
    mode: str = "live"
    scopes: frozenset[str] = frozenset()
    allowed_models: frozenset[UUID] = frozenset()
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    buckets: tuple[Bucket, ...] = ()  # the key's or person's, and the organization's
    budget_ids: tuple[UUID, ...] = ()
    is_revoked: bool = False
    is_orphaned: bool = False  # its person is no longer there or in the organization, or that is closed
    expires: float | None = None
    overlap_ends: float | None = None  # the secret that was used is the one before a rotation
    public_key_id: str = ""
    is_limited: bool = field(init=False, repr=False)
    """Whether `require_usable` has anything to look at, which it has of few."""

    def __post_init__(self) -> None:  # once a second; what follows is asked at each call
        is_over = self.is_revoked or self.is_orphaned
        has_an_end = self.expires is not None or self.overlap_ends is not None
        object.__setattr__(self, "is_limited", is_over or has_an_end or bool(self.allowed_networks))

    def require_usable(self, address: str) -> None:
        """Raises the problem that says why this key opens nothing, or not from that address."""
        now = time.monotonic()
        if self.is_revoked:
            raise KeyRevoked()
        if self.is_orphaned:
            raise InvalidCredentials("The person or the organization that this key belongs to is no longer there.")
        if self.overlap_ends is not None and self.overlap_ends <= now:
            raise KeyRevoked("This secret was replaced by a rotation, and the time of overlap has ended.")
        if self.expires is not None and self.expires <= now:
            raise KeyExpired()
        if not self.may_come_from(address):
            raise IPNotAllowed()

    def may_come_from(self, address: str) -> bool:
        if not self.allowed_networks:
            return True
        return bool(address) and any(ip_address(address) in network for network in self.allowed_networks)


class Callers:
    """`await callers(digests)`: the caller, or None for a secret that nobody has. Raises ServiceUnavailable."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._batcher: Batcher[Digests, Caller | None] = Batcher(self._load)

    async def __call__(self, digests: Digests) -> Caller | None:
        try:
            return await self._batcher(digests)
        except QueueFull:
            raise ServiceUnavailable("The gateway is busy beyond what it queues.", retry_after_seconds=1) from None

    async def _load(self, asked: Sequence[Digests]) -> list[Caller | Exception | None]:
        now = time.monotonic()
        every = {"digests": [digest for digests in asked for digest in digests]}
        rows = await self._rows(KEYS, every)
        if without := {row["organization_id"] for row in rows if not row["has_credit"]}:
            for organization_id in without:
                await run_in_django(open_account, organization_id)
            rows = await self._rows(KEYS, every)
        by_digest = {bytes(row["digest"]): row for row in rows}
        by_previous = {bytes(row["previous_digest"]): row for row in rows if row["previous_digest"] is not None}
        found: list[Caller | Exception | None] = []
        for digests in asked:
            current = next((by_digest[digest] for digest in digests if digest in by_digest), None)
            if current is not None:
                found.append(_caller(current, now, is_previous=False))
                continue
            row = next((by_previous[digest] for digest in digests if digest in by_previous), None)
            found.append(None if row is None else _caller(row, now, is_previous=True))
        return found


def _caller(row: Mapping[str, Any], now: float, *, is_previous: bool) -> Caller:
    overlap_in = row["overlap_in"] if is_previous else None
    return Caller(
        organization_id=row["organization_id"],
        user_id=row["user_id"],
        api_key_id=row["id"],
        public_key_id=encode("key", row["id"]),
        mode=row["mode"],
        scopes=frozenset(row["permissions"]) & scopes_of_role(row["role"]) if row["role"] else frozenset(),
        allowed_models=frozenset(row["allowed_models"]),
        allowed_networks=tuple(ip_network(cidr, strict=False) for cidr in row["allowed_ips"]),
        buckets=buckets_of_key(row["id"], row["rate_limit"], row["organization_id"], row["organization_limit"]),
        budget_ids=tuple(row["budget_ids"] or ()),
        is_revoked=row["is_revoked"],
        is_orphaned=row["is_orphaned"],
        expires=None if row["expires_in"] is None else now + row["expires_in"],
        overlap_ends=None if overlap_in is None else now + overlap_in,
    )


def open_account(organization_id: UUID) -> None:
    """The credit that every organization has, of one that has not called yet."""
    ensure_account(Organization.objects.get(pk=organization_id))
