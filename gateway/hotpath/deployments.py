"""Calls by the name of a deployment: what it stands for, and what is called where that fails.

A name without a slash is a deployment of the caller's own organization; nobody else's is found by it. Where its model
cannot be called, or fails before anything was delivered, the call goes to the fallback instead, once: with an id, a
hold and a price of its own, after the failed one was settled for nothing. The two receipts name each other.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from common.ids import uuid7
from common.limiter import Bucket
from common.limits import buckets_of_deployment
from common.problems import Problem
from gateway import errors

if TYPE_CHECKING:
    from gateway.hotpath.call import Gateway
    from gateway.hotpath.callers import Caller
    from gateway.hotpath.rules import Call
    from gateway.hotpath.snapshot import Listing

logger = logging.getLogger("gateway.call")

Rows = Callable[[str, Any], Awaitable[list[dict[str, Any]]]]

DEPLOYMENT = """
SELECT d.id, d.name, d.status, d.ai_model_id, d.version_id, d.fallback_id, d.rate_limit,
       (SELECT x.id FROM marketplace_price x WHERE x.ai_model_id = d.ai_model_id AND x.effective_from <= clock_now()
         ORDER BY x.effective_from DESC, x.id DESC LIMIT 1) AS price_id,
       ARRAY(SELECT DISTINCT ON (b.purpose, b."window") b.id FROM accounts_budget b
              WHERE b.subject_id = d.id AND b.closed_at IS NULL
              ORDER BY b.purpose, b."window", b.starts_at DESC) AS budget_ids
  FROM gateway_deployment d
 WHERE d.organization_id = %s AND d.name = %s AND d.deleted_at IS NULL
"""
LINK = "SELECT gateway_link_fallback(%s, %s)"

#: After these the fallback is called: the publisher's side failed, and nothing was delivered.
FALLS_BACK_AFTER = (
    errors.UpstreamFailed,
    errors.UpstreamTimeout,
    errors.UpstreamBusy,
    errors.UpstreamInvalidOutput,
)
#: Why a model stands in for nobody.
UNFIT = (
    errors.ModelNotFound,
    errors.ModelNotCallable,
    errors.ModelNotAllowed,
    errors.NotForTestKeys,
    errors.SubscriptionRequired,
)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment as a call needs to know it. `pinned`: version and price, of one that is pinned."""

    id: UUID
    name: str
    ai_model_id: UUID
    pinned: tuple[UUID, UUID] | None
    fallback_id: UUID | None
    is_active: bool
    buckets: tuple[Bucket, ...]
    budget_ids: tuple[UUID, ...]


async def load(rows: Rows, key: tuple[UUID, str]) -> Deployed | None:
    """By organization and name."""
    found = await rows(DEPLOYMENT, key)
    if not found:
        return None
    row = found[0]
    return Deployed(
        id=row["id"],
        name=row["name"],
        ai_model_id=row["ai_model_id"],
        pinned=None if row["version_id"] is None else (row["version_id"], row["price_id"]),
        fallback_id=row["fallback_id"],
        is_active=row["status"] == "active",
        buckets=buckets_of_deployment(row["id"], row["rate_limit"]),
        budget_ids=tuple(row["budget_ids"]),
    )


async def find(gateway: Gateway, name: str, caller: Caller) -> tuple[Listing, Deployed]:
    """The model that a call by this name goes to now, and the deployment. Raises the problem that says why not."""
    gateway.require_scope(caller)
    deployed = await gateway.snapshots.deployment((caller.organization_id, name))
    if deployed is None:
        raise errors.ModelNotFound()
    if not deployed.is_active:
        raise errors.DeploymentPaused()
    try:
        return await gateway.find_listing(deployed.pinned or deployed.ai_model_id, caller), deployed
    except (errors.ModelNotFound, errors.ModelNotCallable):
        listing = await _fallback_listing(gateway, deployed, caller)
    if listing is None:
        raise errors.ModelNotCallable("The model of this deployment cannot be called at the moment.")
    return listing, deployed


async def instead_of(gateway: Gateway, call: Call, problem: Problem) -> Call | None:
    """The call to make instead of one that failed with `problem` and delivered nothing; None where that stands."""
    deployed = call.deployment
    if (
        deployed is None
        or call.listing.id == deployed.fallback_id
        or not isinstance(problem, FALLS_BACK_AFTER)
        or (listing := await _fallback_listing(gateway, deployed, call.caller)) is None
        or listing.endpoint.protocol != call.listing.endpoint.protocol
        or listing.input.violations(call.body, call.size)
    ):
        return None
    second = replace(
        call,
        listing=listing,
        id=uuid7() if call.is_reserved else call.id,  # one receipt each, where the first has one
        request_id="",  # made of the id, by which its publisher names it
        fallback_of=call.id if call.is_reserved else None,
        is_reserved=False,
        hold_nano=0,
        held_tokens=None,
        delivered_bytes=0,
        first_token_ms=None,
    )
    if call.claim is not None and call.is_reserved:
        await call.claim.follow(second.id)
    return second


async def link(pool: AsyncConnectionPool, call: Call) -> None:
    """Let the receipts of a call and of the failed one before it name each other. Where that fails, they do not."""
    try:
        async with pool.connection() as connection:
            await connection.execute(LINK, [call.fallback_of, call.id])
    except psycopg.OperationalError:
        logger.warning("fallback_not_linked", extra={"request_id": call.request_id})


async def _fallback_listing(gateway: Gateway, deployed: Deployed, caller: Caller) -> Listing | None:
    if deployed.fallback_id is None:
        return None
    try:
        return await gateway.find_listing(deployed.fallback_id, caller)
    except UNFIT:
        return None
