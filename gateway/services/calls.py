"""The two moves of money around a call, as the SQL function `gateway_batch` makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection, transaction

from gateway.models import Rule
from gateway.services.arrays import (
    BOOLEAN,
    EMPTY,
    TEXT,
    UUIDS,
    Packed,
    array,
    bigints,
    element,
    integers,
    is_empty,
    read_integers,
    read_uuids,
    texts,
    uuids,
)

#: A call whose process has not renewed it for this long is an orphan.
ORPHAN_AFTER_SECONDS = 150

PARAMETERS = 31
_ANSWER = "SELECT refused, refused_by, unsettled FROM gateway_batch"
#: For PostgreSQL itself, and for the driver; see `batch_parameters`.
BATCH_STATEMENT = f"{_ANSWER}({', '.join(f'${number}' for number in range(1, PARAMETERS + 1))})"
BATCH_SQL = f"{_ANSWER}({', '.join(['%b'] * PARAMETERS)})"


@dataclass(frozen=True, slots=True, eq=False)
class What:
    """What a call is: by whom, of which model, at which price, within which budgets. Many calls share one object of it,
    which is why it keeps what it looks like to PostgreSQL."""

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
    budget_ids: tuple[UUID, ...]  # every budget that must hold what the call may cost
    deployment_id: UUID | None = None
    elements: tuple[bytes, ...] = field(init=False, repr=False)  # in the order of `WHAT_KINDS`
    budgets: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = (
            *(self.organization_id, self.user_id, self.api_key_id, self.publisher_id, self.ai_model_id),
            *(self.version_id, self.price_id, self.deployment_id),
        )
        elements = tuple(element(value) for value in (*ids, self.kind, self.mode, self.is_streamed))
        object.__setattr__(self, "elements", elements)
        object.__setattr__(self, "budgets", tuple(budget.bytes for budget in self.budget_ids))


WHAT_KINDS = (*[UUIDS] * 8, TEXT, TEXT, BOOLEAN)


class Reserve(NamedTuple):
    """The intent of one call and the most it may cost; where that is nothing, no budget is asked."""

    id: UUID
    what: What
    hold_nano: int

    @classmethod
    def of(cls, *, id: UUID, hold_nano: int, **what: Any) -> Reserve:
        """One that shares nothing; what: the fields of What."""
        return cls(id, What(**what), hold_nano)


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


_ALL_DONE = BatchAnswer({}, frozenset())


def batch_parameters(reserves: Sequence[Reserve], settles: Sequence[Settle], *, is_repeat: bool) -> list[bytes]:
    """The parameters of `gateway_batch`, all in binary.

    is_repeat: whether any of the reserves may have been made already, by a batch whose answer was lost.
    """
    reserved = [reserve.id.int.to_bytes(16) for reserve in reserves]
    settled = [settle.id.int.to_bytes(16) for settle in settles]
    ids = reserved + settled  # as bytes they compare faster
    whats: dict[What, int] = {}
    numbers = [whats.setdefault(reserve.what, len(whats) + 1) for reserve in reserves]
    parameters = [
        *_what_columns(list(whats)),
        uuids(reserved),
        integers(numbers),
        bigints([reserve.hold_nano for reserve in reserves]),
        *_settle_columns(settled, settles),
    ]
    parameters += (min(ids), max(ids), b"\1" if is_repeat else b"\0")
    return parameters


def _what_columns(whats: Sequence[What]) -> list[bytes]:
    if not whats:
        return [*_NO_WHAT]
    columns = [
        array(kind, column)
        for kind, column in zip(WHAT_KINDS, zip(*[w.elements for w in whats], strict=True), strict=True)
    ]
    budgets: list[bytes] = []
    first: list[int] = []
    last: list[int] = []
    for what in whats:
        first.append(len(budgets) + 1)
        budgets += what.budgets
        last.append(len(budgets))
    return [*columns, integers(first), integers(last), uuids(budgets)]


_NO_WHAT = (*[EMPTY[kind] for kind in WHAT_KINDS], integers(()), integers(()), uuids(()))


def _settle_columns(settled: Sequence[bytes], settles: Sequence[Settle]) -> tuple[bytes, ...]:
    if not settles:
        return _NO_SETTLE
    _, rules, costs, inputs, outputs, sources, statuses, errors, latencies, first_tokens = zip(*settles, strict=True)
    ends: dict[tuple[Rule, str, int, str], int] = {}
    numbers = [ends.setdefault(end, len(ends) + 1) for end in zip(rules, sources, statuses, errors, strict=True)]
    return (
        *_end_columns(tuple(ends)),
        uuids(settled),
        integers(numbers),
        bigints(costs),
        bigints(inputs),
        bigints(outputs),
        integers(latencies),
        integers(first_tokens),
    )


@lru_cache(256)  # calls end in few ways
def _end_columns(ends: Iterable[tuple[Rule, str, int, str]]) -> tuple[bytes, bytes, bytes, bytes]:
    rules, sources, statuses, errors = zip(*ends, strict=True)
    return texts(rule.value for rule in rules), texts(sources), integers(statuses), texts(errors)


_NO_SETTLE = (
    *(texts(()), texts(()), integers(()), texts(())),
    *(uuids(()), integers(()), bigints(()), bigints(()), bigints(()), integers(()), integers(())),
)


def read_answer(refused: bytes, refused_by: bytes, unsettled: bytes) -> BatchAnswer:
    """What `gateway_batch` answered, in binary; its positions count from 1, ours from 0."""
    if is_empty(refused) and is_empty(unsettled):
        return _ALL_DONE
    return BatchAnswer(
        {position - 1: by for position, by in zip(read_integers(refused), read_uuids(refused_by), strict=True)},
        frozenset(position - 1 for position in read_integers(unsettled)),
    )


@transaction.atomic
def move(*, reserves: Sequence[Reserve] = (), settles: Sequence[Settle] = ()) -> BatchAnswer:
    """Reserve and settle in one transaction, for whoever is not the hot path."""
    # Django's cursor writes values into the text of a statement, which what is packed cannot be.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        parameters = batch_parameters(reserves, settles, is_repeat=True)
        cursor.execute(BATCH_SQL, [Packed(parameter) for parameter in parameters], binary=True)
        assert cursor.pgresult is not None
        return read_answer(*(cursor.pgresult.get_value(0, column) or b"" for column in range(3)))


def create_partitions(days_ahead: int = 14) -> int:
    """Day partitions from today on, so that a call always has a place. Returns how many were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_create_partitions((clock_now() AT TIME ZONE 'UTC')::date, %s)", [days_ahead + 1])
        return int(cursor.fetchone()[0])
