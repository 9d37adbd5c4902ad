"""The two moves of money around a call, as the SQL function `gateway_batch` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection, transaction

from gateway.models import Rule
from gateway.services.arrays import Packed, bigints, booleans, integers, texts, uuids

#: A call whose process has not renewed it for this long is an orphan.
ORPHAN_AFTER_SECONDS = 150

BATCH_SQL = "SELECT refused, refused_by, unsettled FROM gateway_batch(" + "%b, " * 27 + "%s, %s, %s)"


class Reserve(NamedTuple):
    """The intent of one call and the most it may cost. `budget_ids`: every budget that must hold `hold_nano`."""

    id: UUID
    organization_id: UUID
    user_id: UUID | None
    api_key_id: UUID | None
    publisher_id: UUID
    ai_model_id: UUID
    version_id: UUID
    price_id: UUID
    kind: str
    mode: str
    is_streamed: bool
    hold_nano: int
    budget_ids: tuple[UUID, ...]
    deployment_id: UUID | None = None


class Settle(NamedTuple):
    """How one call ended. `cost_nano` above the hold is kept apart as overrun and charged to nobody."""

    id: UUID
    rule: Rule
    cost_nano: int
    input_tokens: int
    output_tokens: int
    usage_source: str
    http_status: int
    error_code: str
    latency_ms: int
    first_token_ms: int | None


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """`refused`: position of a reserve -> the budget that refused it. `unsettled`: settles that met no started call."""

    refused: dict[int, UUID]
    unsettled: frozenset[int]


def batch_parameters(
    reserves: Sequence[Reserve], settles: Sequence[Settle], *, is_repeat: bool
) -> list[Packed | UUID | bool]:
    """The parameters of `BATCH_SQL`.

    settles: in the order of their ids, in which the function locks.  is_repeat: whether any of the reserves may have
    been made already, by a batch whose answer was lost.
    """
    ids = [*(r.id for r in reserves), *(s.id for s in settles)]
    first: list[int] = []
    last: list[int] = []
    budgets: list[UUID] = []
    amounts: list[int] = []
    for reserve in reserves:
        first.append(len(budgets) + 1)
        budgets += reserve.budget_ids
        amounts += [reserve.hold_nano] * len(reserve.budget_ids)
        last.append(len(budgets))
    return [
        uuids([r.id for r in reserves]),
        uuids([r.organization_id for r in reserves]),
        uuids([r.user_id for r in reserves]),
        uuids([r.api_key_id for r in reserves]),
        uuids([r.publisher_id for r in reserves]),
        uuids([r.ai_model_id for r in reserves]),
        uuids([r.version_id for r in reserves]),
        uuids([r.price_id for r in reserves]),
        uuids([r.deployment_id for r in reserves]),
        texts([r.kind for r in reserves]),
        texts([r.mode for r in reserves]),
        booleans([r.is_streamed for r in reserves]),
        bigints([r.hold_nano for r in reserves]),
        integers(first),
        integers(last),
        uuids(budgets),
        bigints(amounts),
        uuids([s.id for s in settles]),
        texts([s.rule.value for s in settles]),
        bigints([s.cost_nano for s in settles]),
        bigints([s.input_tokens for s in settles]),
        bigints([s.output_tokens for s in settles]),
        texts([s.usage_source for s in settles]),
        integers([s.http_status for s in settles]),
        texts([s.error_code for s in settles]),
        integers([s.latency_ms for s in settles]),
        integers([s.first_token_ms for s in settles]),
        min(ids),
        max(ids),
        is_repeat,
    ]


def batch_answer(row: Sequence[Any]) -> BatchAnswer:
    """What `gateway_batch` answered; its positions count from 1, ours from 0."""
    refused, refused_by, unsettled = row
    return BatchAnswer(
        {position - 1: budget for position, budget in zip(refused, refused_by, strict=True)},
        frozenset(position - 1 for position in unsettled),
    )


@transaction.atomic
def move(*, reserves: Sequence[Reserve] = (), settles: Sequence[Settle] = ()) -> BatchAnswer:
    """Reserve and settle in one transaction, for whoever is not the hot path."""
    # Django's cursor writes values into the text of a statement, which packed arrays cannot be.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(BATCH_SQL, batch_parameters(reserves, settles, is_repeat=True))
        return batch_answer(cursor.fetchone() or ([], [], []))


def create_partitions(days_ahead: int = 14) -> int:
    """Day partitions from today on, so that a call always has a place. Returns how many were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_create_partitions((clock_now() AT TIME ZONE 'UTC')::date, %s)", [days_ahead + 1])
        return int(cursor.fetchone()[0])
