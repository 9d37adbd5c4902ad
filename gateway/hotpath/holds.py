"""What a process asks of the database about its calls under way, beside reserving and settling them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from gateway.adapters import count_tokens
from gateway.errors import MoneyUnavailable
from gateway.hotpath.rules import Call

TRIES = 3
TRY_SECONDS = 5.0


async def extend_hold(pool: AsyncConnectionPool, call_id: UUID, to_nano: int) -> UUID | None:
    """Raise the hold of a call to `to_nano` in all of its budgets. Returns the budget that refused it.

    Tried again on a broken connection, which is harmless. Raises MoneyUnavailable when it cannot be made, also because
    the call is not under way any more.
    """
    for attempt in range(TRIES):
        try:
            async with asyncio.timeout(TRY_SECONDS), pool.connection() as connection:
                cursor = await connection.execute("SELECT * FROM gateway_extend(%s, %s)", [call_id, to_nano])
                is_held, refused_by = await cursor.fetchone() or (False, None)
            break
        except (psycopg.OperationalError, TimeoutError):
            if attempt == TRIES - 1:
                raise MoneyUnavailable(retry_after_seconds=5) from None
            await asyncio.sleep(0.05)
    if not is_held and refused_by is None:
        raise MoneyUnavailable("The call was ended by the orphan rule before it was over.", retry_after_seconds=5)
    return None if is_held else refused_by


async def beat(pool: AsyncConnectionPool, calls: Iterable[Call]) -> None:
    """Renew these calls, and note what each has taken and delivered so far, in tokens."""
    rows: list[tuple[Any, ...]] = sorted(
        (call.id, count_tokens(call.size), count_tokens(call.delivered_bytes)) for call in calls
    )
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with pool.connection() as connection:
            await connection.execute("SELECT gateway_beat(%s::uuid[], %s::bigint[], %s::bigint[])", columns)
