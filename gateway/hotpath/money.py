"""The one database connection of a gateway process that moves money."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

import psycopg

from gateway.errors import MoneyUnavailable
from gateway.hotpath.batcher import Batcher, QueueFull
from gateway.services.calls import BATCH_SQL, BatchAnswer, Reserve, Settle, batch_answer, batch_parameters

logger = logging.getLogger(__name__)

#: How long a batch is tried again, with the same ids, when the connection breaks. Then it fails closed.
RETRY_SECONDS = 5.0

#: Generic plans, and none of the plan nodes that a plan made on an empty partition would choose.
SESSION = "-c plan_cache_mode=force_generic_plan -c jit=off -c synchronous_commit=on -c statement_timeout=10000"


class Money:
    """Reserves and settles of this process, batched. Raises MoneyUnavailable when they cannot be made durable."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.AsyncConnection | None = None
        self._batcher: Batcher[Reserve | Settle, UUID | bool | None] = Batcher(self._send)

    async def reserve(self, reserve: Reserve) -> UUID | None:
        """None when the hold is made, else the budget that refused it."""
        return await self._move(reserve)  # type: ignore[return-value]

    async def settle(self, settle: Settle) -> None:
        """Returns when the settlement is durable."""
        if await self._move(settle) is False:
            # The orphan rule or a human was faster, or the call was never reserved: either way it must be looked at.
            logger.error("settle_without_started_call", extra={"invocation_id": str(settle.id)})

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _move(self, item: Reserve | Settle) -> UUID | bool | None:
        try:
            return await self._batcher(item)
        except QueueFull:
            raise MoneyUnavailable("The gateway is busy beyond what it queues.", retry_after_seconds=1) from None

    async def _send(self, items: Sequence[Reserve | Settle]) -> list[UUID | bool | None]:
        """One result per item. Reserve: None or the refusing budget. Settle: False when no call was started."""
        reserves = [item for item in items if isinstance(item, Reserve)]
        settles = sorted((item for item in items if isinstance(item, Settle)), key=lambda settle: settle.id)
        answer = await self._execute(reserves, settles)
        refused = {reserves[position].id: budget for position, budget in answer.refused.items()}
        unsettled = {settles[position].id for position in answer.unsettled}
        return [refused.get(i.id) if isinstance(i, Reserve) else i.id not in unsettled for i in items]

    async def _execute(self, reserves: list[Reserve], settles: list[Settle]) -> BatchAnswer:
        """Tried again on a broken connection: the ids make a repeat of a batch that had committed harmless."""
        loop = asyncio.get_running_loop()
        deadline, pause, repeated = loop.time() + RETRY_SECONDS, 0.05, False
        while True:
            try:
                connection = await self._connect()
                cursor = await connection.execute(BATCH_SQL, batch_parameters(reserves, settles))
                answer = batch_answer(await cursor.fetchone() or ([], [], []))
                return await self._without_own_echo(connection, answer, settles) if repeated else answer
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                await self._drop()
                if loop.time() + pause > deadline:
                    logger.error("money_unavailable", extra={"error": type(error).__name__})
                    raise MoneyUnavailable(retry_after_seconds=5) from None
                await asyncio.sleep(pause)
                pause, repeated = min(pause * 2, 1.0), True

    async def _without_own_echo(
        self, connection: psycopg.AsyncConnection, answer: BatchAnswer, settles: list[Settle]
    ) -> BatchAnswer:
        """After a repeat, a settle that finds the call final was most likely ours, whose answer was lost."""
        ids = [settles[position].id for position in answer.unsettled]
        cursor = await connection.execute(
            "SELECT id FROM gateway_invocation WHERE id = ANY(%s::uuid[]) AND state = 'final'", [ids]
        )
        final = {row[0] for row in await cursor.fetchall()}
        return BatchAnswer(answer.refused, frozenset(p for p in answer.unsettled if settles[p].id not in final))

    async def _connect(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, options=SESSION, connect_timeout=3, prepare_threshold=0
            )
        return self._connection

    async def _drop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = None
