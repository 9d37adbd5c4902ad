"""What a call needs to know, remembered for a second at most: who calls, and what is called.

A snapshot is never older than `TTL_SECONDS`, so a revoked key or a withdrawn model stops within it, in every process.
Unknown names are remembered as briefly, so that noise does not reach the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from jsonschema_rs import Draft202012Validator
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from accounts.models import Budget
from apikeys.models import scopes_of_role
from apikeys.services import RememberedDigests
from common.limits import bucket_of_organization, bucket_of_person
from common.problems import FieldError, ServiceUnavailable
from common.sealing import SealError
from gateway.errors import ModelNotCallable
from gateway.hotpath import deployments
from gateway.hotpath.callers import Caller, Callers, open_account
from gateway.hotpath.deployments import Deployed
from gateway.hotpath.orm import AWAY_SECONDS, run_in_django
from gateway.services.echo import ECHO_ID, ECHO_SLUG, ensure_echo
from gateway.services.endpoints import Target, target_of_row
from marketplace.models import PUBLIC_STATUSES, Price
from marketplace.services.schemas import Side, steps_of, validator_for, violations

logger = logging.getLogger(__name__)

TTL_SECONDS = 1.0
#: What is still asked for so shortly before its end is read anew meanwhile: calls of a busy key wait for no read.
AHEAD_SECONDS = 0.4
#: A schema is tried on a value while every other call waits: so many steps times bytes take about half a second.
MAX_CHECK = 250_000_000
#: How long one read may take, the wait for a connection included.
READ_SECONDS = 5.0

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class TTLCache(Generic[Key, Value]):
    """`await cache(key)`: loads once at a time per key, however many ask, and nothing that it gives is older than a
    second."""

    def __init__(self, load: Callable[[Key], Awaitable[Value]], *, size: int = 10_000) -> None:
        self._load, self._size = load, size
        self._known: dict[Key, tuple[float, Value]] = {}
        self._loading: dict[Key, asyncio.Future[Value]] = {}

    def get(self, key: Key) -> Value | None:
        """What is known already, without a wait; None where that is nothing, or was loaded too long ago."""
        known = self._known.get(key)
        if known is None:
            return None
        left = known[0] - time.monotonic()
        if left <= 0:
            return None
        if left < AHEAD_SECONDS and key not in self._loading:
            self._begin(key)
        return known[1]

    async def __call__(self, key: Key) -> Value:
        if (value := self.get(key)) is not None:
            return value
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():  # that there is nothing
            return known[1]
        return await asyncio.shield(self._loading.get(key) or self._begin(key))  # whoever gives up takes nothing

    def _begin(self, key: Key) -> asyncio.Future[Value]:
        loading = self._loading[key] = asyncio.ensure_future(self._renew(key))
        loading.add_done_callback(_look_at)
        return loading

    async def _renew(self, key: Key) -> Value:
        began = time.monotonic()  # the age counts from before the read
        try:
            value = await self._load(key)
            if len(self._known) >= self._size and key not in self._known:
                self._known = {k: v for k, v in self._known.items() if v[0] > began}
            if len(self._known) < self._size or key in self._known:
                self._known[key] = (began + TTL_SECONDS, value)
            return value
        finally:
            del self._loading[key]


def _look_at(loading: asyncio.Future[Any]) -> None:
    """Of what was read ahead nobody may learn that it failed: whoever needs it then reads it again."""
    if not loading.cancelled():
        loading.exception()


@dataclass(frozen=True, slots=True)
class Schema:
    """One side of a version's interface. `steps`: how many schemas one value may be tried on."""

    validator: Draft202012Validator
    steps: int

    @classmethod
    def of_row(cls, row: Mapping[str, Any], side: Side) -> Schema:
        schema = row[f"{side}_schema"]
        return cls(validator_for(row["version_id"], side, schema), steps_of(schema))

    def violations(self, value: Any, size: int) -> list[FieldError]:
        """What is wrong with a value that has `size` bytes as JSON; empty if it fits."""
        if self.steps * size > MAX_CHECK:
            detail = f"{size:,} bytes are too many to be checked against a schema of {self.steps:,} steps."
            return [{"pointer": "", "code": "too_complex", "detail": detail}]
        return violations(self.validator, value)


@dataclass(frozen=True, slots=True)
class Listing:
    """The model that is called: its current version, its price in force and where calls go."""

    id: UUID
    slug: str
    publisher_id: UUID
    category: str
    is_public: bool
    is_callable: bool
    test_enabled: bool
    version_id: UUID
    version: str
    input: Schema
    output: Schema
    price: Price
    target: Target | None = field(repr=False)

    @property
    def endpoint(self) -> Target:
        """Where calls go. Raises ModelNotCallable when they go nowhere at the moment."""
        if self.target is None or not self.is_callable:
            raise ModelNotCallable()
        return self.target

    def is_visible_to(self, organization_id: UUID) -> bool:
        return self.is_public or self.publisher_id == organization_id


PERSON = """
SELECT m.role, o.rate_limit AS organization_limit
  FROM accounts_membership m
  JOIN accounts_organization o ON o.id = m.organization_id
  JOIN accounts_user u ON u.id = m.user_id
 WHERE m.organization_id = %s AND m.user_id = %s AND u.is_active AND o.closed_at IS NULL
"""

BUDGETS = """
SELECT DISTINCT ON (subject_id, purpose, "window") id, purpose FROM accounts_budget
 WHERE subject_id = ANY(%s::uuid[]) AND closed_at IS NULL ORDER BY subject_id, purpose, "window", starts_at DESC
"""

BUDGET = (
    'SELECT id, subject_kind, subject_id, purpose, ends_at, "limit", spent, held FROM accounts_budget WHERE id = %s'
)

COLUMNS = """
SELECT m.id, p.slug || '/' || m.slug AS slug, m.publisher_id, m.category, m.status, m.is_callable, m.test_enabled,
       v.id AS version_id, v.version, v.input_schema, v.output_schema, e.id AS endpoint_id, e.url, e.protocol,
       e.upstream_model, e.auth_header, e.sealed_secret, e.sealed_signing_key, e.timeout_seconds, e.max_cost_nano,
       r.id AS price_id, r.type, r.amount_nano, r.period, r.currency, r.per_call_nano, r.input_nano_per_million,
       r.output_nano_per_million, r.included_calls
"""
ENDPOINT = """
  LEFT JOIN LATERAL (SELECT x.* FROM gateway_endpoint x JOIN marketplace_modelversion w ON w.id = x.version_id
                      WHERE w.ai_model_id = m.id AND w.id <= v.id ORDER BY w.id DESC LIMIT 1) e ON true
"""

LISTING = """
{columns}
  FROM marketplace_aimodel m
  JOIN accounts_organization p ON p.id = m.publisher_id
  JOIN marketplace_modelversion v ON v.id = m.current_version_id
  JOIN LATERAL (SELECT * FROM marketplace_price x WHERE x.ai_model_id = m.id AND x.effective_from <= clock_now()
                 ORDER BY x.effective_from DESC, x.id DESC LIMIT 1) r ON true
{endpoint}
 WHERE {condition}
"""

PINNED = """
{columns}
  FROM marketplace_modelversion v
  JOIN marketplace_aimodel m ON m.id = v.ai_model_id
  JOIN accounts_organization p ON p.id = m.publisher_id
  JOIN marketplace_price r ON r.ai_model_id = m.id AND r.id = %s
{endpoint}
 WHERE {condition}
"""


class Snapshots:
    """Callers by the digests of their secret, models by id or slug, deployments by organization and name."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self.digests = RememberedDigests()
        self.caller_of_key: TTLCache[tuple[bytes, ...], Caller | None] = TTLCache(Callers(self._rows))
        self.caller_of_person: TTLCache[tuple[UUID, UUID], Caller] = TTLCache(self._load_person)
        self.listing: TTLCache[UUID | str, Listing | None] = TTLCache(self._load_listing)
        self.pinned_listing: TTLCache[tuple[UUID, UUID], Listing | None] = TTLCache(self._load_pinned)
        self.deployment: TTLCache[tuple[UUID, str], Deployed | None] = TTLCache(partial(deployments.load, self._rows))

    async def budget(self, id: UUID) -> Budget:
        """The budget as it is now."""
        return Budget(**(await self._rows(BUDGET, [id]))[0])

    async def _rows(self, query: str, parameters: Any) -> list[dict[str, Any]]:
        """Raises ServiceUnavailable when the database does not answer."""
        try:
            try:
                return await self._read(query, parameters)
            except PoolTimeout:
                raise
            except (
                psycopg.OperationalError
            ):  # after a restart every connection is dead, and this is the first to say so
                await self._pool.check()
                return await self._read(query, parameters)
        except (psycopg.OperationalError, TimeoutError) as error:
            logger.warning("snapshot_unavailable", extra={"error": type(error).__name__})
            raise ServiceUnavailable("The database does not answer.", retry_after_seconds=AWAY_SECONDS) from None

    async def _read(self, query: str, parameters: Any) -> list[dict[str, Any]]:
        async with asyncio.timeout(READ_SECONDS), self._pool.connection() as connection:
            cursor = await connection.cursor(row_factory=dict_row).execute(query.encode(), parameters)
            return await cursor.fetchall()

    async def _load_person(self, ids: tuple[UUID, UUID]) -> Caller:
        """ids: the organization that pays and the person. Without a membership there nothing is allowed."""
        organization_id, user_id = ids
        rows = await self._rows(PERSON, ids)
        limit = rows[0]["organization_limit"] if rows else None
        return Caller(
            organization_id=organization_id,
            user_id=user_id,
            scopes=scopes_of_role(rows[0]["role"]) if rows else frozenset(),
            buckets=(bucket_of_person(user_id), bucket_of_organization(organization_id, limit)),
            budget_ids=await self._budgets(organization_id) if rows else (),
        )

    async def _budgets(self, organization_id: UUID) -> tuple[UUID, ...]:
        """The budgets that a paid call must fit into; the organization's credit is always among them."""
        rows = await self._rows(BUDGETS, [[organization_id]])
        if not any(row["purpose"] == "credit" for row in rows):
            await run_in_django(open_account, organization_id)
            rows = await self._rows(BUDGETS, [[organization_id]])
        return tuple(row["id"] for row in rows)

    async def _load_listing(self, name: UUID | str) -> Listing | None:
        if name == ECHO_ID:
            return _echo_listing(await run_in_django(ensure_echo))
        if isinstance(name, UUID):
            rows = await self._rows(_query(LISTING, "m.id = %s"), [name])
        else:
            publisher, _, slug = name.partition("/")
            rows = await self._rows(_query(LISTING, "p.slug = %s AND m.slug = %s"), [publisher, slug])
        return _listing(rows[0]) if rows else None

    async def _load_pinned(self, ids: tuple[UUID, UUID]) -> Listing | None:
        """A model at the version and the price of these ids; its endpoint, and whether it can be called, are of now."""
        version_id, price_id = ids
        if version_id == ECHO_ID:
            return await self._load_listing(ECHO_ID)
        rows = await self._rows(_query(PINNED, "v.id = %s"), [price_id, version_id])
        return _listing(rows[0]) if rows else None


def _query(listings: str, condition: str) -> str:
    return listings.format(columns=COLUMNS, endpoint=ENDPOINT, condition=condition)


def _listing(row: Mapping[str, Any]) -> Listing:
    """Of the columns of `COLUMNS`."""
    return Listing(
        id=row["id"],
        slug=row["slug"],
        publisher_id=row["publisher_id"],
        category=row["category"],
        is_public=row["status"] in PUBLIC_STATUSES,
        is_callable=row["is_callable"],
        test_enabled=row["test_enabled"],
        version_id=row["version_id"],
        version=row["version"],
        input=Schema.of_row(row, "input"),
        output=Schema.of_row(row, "output"),
        price=Price(
            id=row["price_id"],
            ai_model_id=row["id"],
            type=row["type"],
            amount_nano=row["amount_nano"],
            period=row["period"],
            currency=row["currency"],
            per_call_nano=row["per_call_nano"],
            input_nano_per_million=row["input_nano_per_million"],
            output_nano_per_million=row["output_nano_per_million"],
            included_calls=row["included_calls"],
        ),
        target=_target(row),
    )


def _echo_listing(price: Price) -> Listing:
    """The built-in echo: it has no endpoint, takes every input, and is public to nobody but test keys."""
    anything = {"version_id": ECHO_ID, "input_schema": {}, "output_schema": {}}
    return Listing(
        id=ECHO_ID,
        slug=ECHO_SLUG,
        publisher_id=ECHO_ID,
        category="other",
        is_public=False,
        is_callable=True,
        test_enabled=True,
        version_id=ECHO_ID,
        version="1.0.0",
        input=Schema.of_row(anything, "input"),
        output=Schema.of_row(anything, "output"),
        price=price,
        target=Target(
            endpoint_id=ECHO_ID,
            url="echo:",
            protocol="echo",
            upstream_model=ECHO_SLUG,
            auth_header="",
            secret=None,
            signing_key=bytes(32),  # nobody is asked, so nobody checks
            timeout_seconds=10,
            max_cost_nano=None,
        ),
    )


def _target(row: Mapping[str, Any]) -> Target | None:
    if row["endpoint_id"] is None:
        return None
    try:
        return target_of_row(row)
    except SealError as error:  # sealed under a key-encryption key that is no longer configured
        logger.error("endpoint_cannot_be_opened", extra={"endpoint_id": str(row["endpoint_id"]), "error": str(error)})
        return None
