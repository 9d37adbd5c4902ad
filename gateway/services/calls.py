"""The two moves of money around a call, as the SQL function `gateway_batch` makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection, transaction

from common import clock
from common.ids import first_uuid
from gateway.errors import GatewayStopped
from gateway.models import Invocation, Prediction, Rule, SweepMark
from gateway.services.arrays import Packed, bigints, booleans, integers, texts, uuids
from marketplace.services.pricing import cost_of

#: A call whose process has not renewed it for this long is an orphan.
ORPHAN_AFTER_SECONDS = 150
#: A call is written at most this long after its id was made: a slow body, a process whose clock is late.
WRITTEN_WITHIN = timedelta(hours=1)
VOIDED_AT_ONCE = 500

BATCH_SQL = "SELECT refused, refused_by, unsettled FROM gateway_batch(" + "%b, " * 26 + "%b)"


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


def batch_parameters(reserves: Sequence[Reserve], settles: Sequence[Settle]) -> list[Packed]:
    """The arrays of `BATCH_SQL`. Settles are put into id order, in which the function locks."""
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
        cursor.execute(BATCH_SQL, batch_parameters(reserves, settles))
        return batch_answer(cursor.fetchone() or ([], [], []))


def settle_orphans() -> int:
    """End calls whose process stopped renewing them: their hold returns, nothing is charged. Returns how many ended.

    Looked through are the calls since the mark of the last run, and the few that were alive before it.
    """
    at = clock.now()
    mark = SweepMark.objects.filter(name=SweepMark.ORPHANS).first() or SweepMark(low_water=UUID(int=0), carried=[])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, beat_at FROM gateway_invocation WHERE state = 'started' AND id >= %s UNION ALL"
            " SELECT id, beat_at FROM gateway_invocation WHERE state = 'started' AND id = ANY (%s) AND id < %s",
            [mark.low_water, mark.carried, mark.low_water],
        )
        started = cursor.fetchall()
    alive_since = at - timedelta(seconds=ORPHAN_AFTER_SECONDS)
    in_line = set(Prediction.objects.live().values_list("id", flat=True))  # their holds live as long as they do
    orphans = sorted(id for id, beat_at in started if beat_at < alive_since and id not in in_line)
    ended = 0
    for first in range(0, len(orphans), VOIDED_AT_ONCE):
        voids = [_void(id) for id in orphans[first : first + VOIDED_AT_ONCE]]
        ended += len(voids) - len(move(settles=voids).unsettled)
    # Last, so that a run that is cut off is repeated. Two at once only do the same twice.
    low_water = max(mark.low_water, first_uuid(at - WRITTEN_WITHIN))
    carried = sorted(id for id, beat_at in started if (beat_at >= alive_since or id in in_line) and id < low_water)
    SweepMark.objects.update_or_create(
        name=SweepMark.ORPHANS, defaults={"low_water": low_water, "carried": carried, "swept_at": at}
    )
    return ended


def _void(id: UUID) -> Settle:
    return Settle(
        id=id,
        rule=Rule.ORPHAN_VOID,
        cost_nano=0,
        input_tokens=0,
        output_tokens=0,
        usage_source="",
        http_status=GatewayStopped.status,
        error_code=GatewayStopped.code,
        latency_ms=0,
        first_token_ms=None,
    )


def create_partitions(days_ahead: int = 14) -> int:
    """Day partitions from today on, so that a call always has a place. Returns how many were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_create_partitions((clock_now() AT TIME ZONE 'UTC')::date, %s)", [days_ahead + 1])
        return int(cursor.fetchone()[0])


def check_books() -> list[str]:
    """What disagrees between calls, budgets and usage, in plain words; empty when every cent is accounted for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.id, b.held, coalesce(c.held, 0), b.spent, coalesce(c.spent, 0) FROM accounts_budget b"
            " LEFT JOIN (SELECT x.budget, sum(i.cost_nano) AS spent,"
            "                   sum(i.hold_nano) FILTER (WHERE i.state = 'started') AS held"
            "              FROM gateway_invocation i, unnest(i.budget_ids) x(budget) GROUP BY x.budget) c"
            "   ON c.budget = b.id"
            " WHERE b.held <> coalesce(c.held, 0) OR b.spent <> coalesce(c.spent, 0)"
        )
        wrong = [
            f"budget {id}: holds {held}, its calls hold {calls_held}; spent {spent}, its calls cost {calls_spent}"
            for id, held, calls_held, spent, calls_spent in cursor.fetchall()
        ]
        cursor.execute(
            "SELECT i.id FROM gateway_invocation i LEFT JOIN billing_usageevent e ON e.id = i.id"
            " WHERE i.state = 'final' AND NOT i.is_demo AND (e.id IS NULL OR e.cost_nano <> i.cost_nano)"
        )
        wrong += [f"call {row[0]}: its usage event is missing or differs" for row in cursor.fetchall()]
    return wrong + list(_wrongly_rated())


def _wrongly_rated() -> Iterable[str]:
    """Calls whose stored cost is not what their frozen price makes of their quantities."""
    charged = Invocation.objects.filter(
        state=Invocation.State.FINAL, rule__in=[Rule.USAGE_REPORTED, Rule.USAGE_COUNTED, Rule.PER_CALL]
    ).select_related("price")
    for call in charged.iterator():
        due = cost_of(call.price, input_tokens=call.input_tokens, output_tokens=call.output_tokens)
        if call.cost_nano + call.overrun_nano != due:
            yield f"call {call.public_id}: cost {call.cost_nano} + overrun {call.overrun_nano}, rated {due}"
