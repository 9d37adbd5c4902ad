"""The one database connection of a gateway process that moves money."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from gateway.errors import MoneyUnavailable
from gateway.hotpath.batcher import Batcher, QueueFull
from gateway.hotpath.prepared import Prepared
from gateway.services.calls import BATCH_STATEMENT, BatchAnswer, Reserve, Settle, batch_parameters, read_answer

logger = logging.getLogger(__name__)

#: How long a batch is tried again, with the same ids, when the connection breaks. Then it fails closed, and so does
#: each one behind it at its first failure, until one succeeds: nobody waits long for a database that is away.
RETRY_SECONDS = 5.0
#: A server that takes a batch and says nothing is given up on, a little after it should have given up itself.
ATTEMPT_SECONDS = 6.0

#: Generic plans, and none of the plan nodes that a plan made on an empty partition would choose.
SESSION = "-c plan_cache_mode=force_generic_plan -c jit=off -c synchronous_commit=on -c statement_timeout=5000"

#: Of a reserve None, or the budget that refused it; of a settle whether it ended the call.
Outcome = UUID | bool | None


class Money:
    """Reserves and settles of this process, batched. Raises MoneyUnavailable when they cannot be made durable.

    Then their outcome is not known: the batch may have been committed before the connection broke. The orphan rule ends
    a call whose hold was made all the same.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: Prepared | None = None
        self._is_away = False
        # A settle always finds a place: a call waits for one move of money at a time, and may have given one up.
        self._batcher: Batcher[Reserve | Settle, Outcome] = Batcher(
            self._send, bound=4 * settings.GATEWAY_CONCURRENT_CALLS
        )

    def reserve(self, reserve: Reserve) -> asyncio.Future[UUID | None]:
        """None when the hold is made, else the budget that refused it."""
        return self._move(reserve)  # type: ignore[return-value]

    def settle(self, settle: Settle, ended: Callable[[Any], None] | None = None) -> asyncio.Future[bool]:
        """Whether this ended the call, durably. False: no such call was started, or another ended it before.

        ended: is told so as well, or with which exception it failed; then the settlement goes on to its end when
        whoever waits for it is cancelled.
        """
        return self._move(settle, ended)  # type: ignore[return-value]

    async def close(self) -> None:
        await self._drop()

    def _move(self, item: Reserve | Settle, ended: Callable[[Any], None] | None = None) -> asyncio.Future[Outcome]:
        try:
            return self._batcher(item, ended)
        except QueueFull:
            raise MoneyUnavailable("The gateway is busy beyond what it queues.", retry_after_seconds=1) from None

    async def _send(self, items: Sequence[Reserve | Settle], *, is_repeat: bool = False) -> list[Outcome | Exception]:
        """One result per item."""
        try:
            return list(await self._send_together(items, is_repeat))
        except psycopg.Error as error:  # the connection is well: the server will not write one of the items
            if len(items) > 1 or not is_repeat:  # the others are not to suffer for it, nor one that is there already
                return [result for item in items for result in await self._send([item], is_repeat=True)]
            await self._drop()  # unless it is this session that may not write, as after a failover
            logger.critical(
                "money_refused", extra={"invocation_id": str(items[0].id), "error": str(error).partition("\n")[0]}
            )
            return [MoneyUnavailable(retry_after_seconds=5)]

    async def _send_together(self, items: Sequence[Reserve | Settle], is_repeat: bool) -> list[Outcome]:
        reserves = [item for item in items if isinstance(item, Reserve)]
        settles = [item for item in items if isinstance(item, Settle)]
        answer = await self._execute(reserves, settles, is_repeat)
        if not answer.refused and not answer.unsettled:
            return [None if isinstance(item, Reserve) else True for item in items]
        refused = {reserves[position].id: budget for position, budget in answer.refused.items()}
        unsettled = {settles[position].id for position in answer.unsettled}
        return [refused.get(i.id) if isinstance(i, Reserve) else i.id not in unsettled for i in items]

    async def _execute(self, reserves: list[Reserve], settles: list[Settle], is_repeat: bool) -> BatchAnswer:
        """Tried again on a broken connection: the ids make a repeat of a batch that had committed harmless."""
        loop = asyncio.get_running_loop()
        deadline, pause, repeated = loop.time() + (0 if self._is_away else RETRY_SECONDS), 0.05, is_repeat
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    connection = await self._connect()
                    columns = await connection.run(batch_parameters(reserves, settles, is_repeat=repeated))
                    answer = read_answer(*columns)
                    self._is_away = False
                    return await self._without_own_echo(connection, answer, settles) if repeated else answer
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                await self._drop()
                if loop.time() + pause > deadline:
                    self._is_away = True
                    logger.error("money_unavailable", extra={"error": type(error).__name__})
                    raise MoneyUnavailable(retry_after_seconds=5) from None
                await asyncio.sleep(pause)
                pause, repeated = min(pause * 2, 1.0), True

    async def _without_own_echo(self, connection: Prepared, answer: BatchAnswer, settles: list[Settle]) -> BatchAnswer:
        """After a repeat, a settle that finds the call final may have been ours, and its answer lost: then what stands
        there is what we say, and not what the orphan rule made of it."""
        rows = await connection.query(
            "SELECT id, rule, cost_nano + overrun_nano, latency_ms FROM gateway_invocation"
            " WHERE id = ANY (%s::uuid[]) AND state = 'final'",
            [[settles[position].id for position in answer.unsettled]],
        )
        final = set(rows)
        return BatchAnswer(answer.refused, frozenset(p for p in answer.unsettled if _facts(settles[p]) not in final))

    async def _connect(self) -> Prepared:
        if self._connection is None or self._connection.closed:
            self._connection = await Prepared.connect(self._conninfo, BATCH_STATEMENT, options=SESSION)
        return self._connection

    async def _drop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = None


def _facts(settle: Settle) -> tuple[UUID, str, int, int]:
    """What tells this settlement from another one's of the same call."""
    return settle.id, settle.rule.value, settle.cost_nano, settle.latency_ms
