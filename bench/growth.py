"""Does a call cost the same with many keys, and with many calls stored over 90 days?

Everything is put in by SQL or in bulk; what is measured is the calls beside it. It goes with the database of the run.
"""

# ruff: noqa: S608 names and numbers of ours

from __future__ import annotations

import random
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from tempfile import NamedTemporaryFile
from typing import Any

from bench.measure import median, settle_down
from bench.measure import run as measure
from bench.peers import Target
from bench.report import books, heading, table
from bench.stage import BODY, Stage, stage

CONNECTIONS = 64
DAYS = 90
PER_ORGANIZATION = 100  # keys
BULK = 2_000
#: Of a stored call or usage event, what is not as in the call that all are copied from. {day}: its partition's day.
OWN_COLUMNS = {
    "id": "(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)"
    " || '8' || substr(md5(n::text), 4, 15))::uuid",
    "organization_id": "(ARRAY[{organizations}]::uuid[])[1 + n % {count}]",
    "budget_ids": "'{{}}'::uuid[]",
    "started_at": "at",
    "beat_at": "at",
    "settled_at": "at",
    "occurred_at": "at",
}
TABLES = ("gateway_invocation", "billing_usageevent")


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    rates: list[float]
    parts: dict[str, list[float]]
    p99: list[float]


def run(options: Namespace) -> str:
    with stage() as ours:
        rows = list(_keys(ours, options)) + list(_calls(ours, options))
        faults = _books_of_what_was_called(ours)
    first = _total(rows[0])
    lines = []
    for row in rows:
        parts = " + ".join(f"{median(cpu):,.0f}" for cpu in row.parts.values())
        total = _total(row)
        lines.append(
            [
                row.what,
                f"{median(row.rates):,.0f}",
                f"{median(row.p99):.1f}",
                f"{parts} = {total:,.0f}",
                f"{total / first:.2f}",
            ]
        )
    head = ["", f"calls/s at {CONNECTIONS}", "p99 ms", f"CPU µs a call ({' + '.join(rows[0].parts)})", "x the first"]
    return "\n".join([heading("growth"), table(head, lines), "", books(faults)])


def _total(row: Row) -> float:
    return median([sum(parts) for parts in zip(*row.parts.values(), strict=True)])


def _measure(target: Target, what: str, options: Namespace, *more: str) -> Row:
    found = []
    for _ in range(options.rounds):
        found.append(measure(target, body=BODY, connections=CONNECTIONS, seconds=options.seconds, more=more))
        settle_down()
    bad = sum(one.load["bad"] + one.load["broken"] for one in found)
    parts = {name: [one.cpu_us[name] for one in found] for name in target.parts}
    loads = [one.load for one in found]
    _say(f"{what}: measured")
    what = f"{what}, {bad} bad" if bad else what
    return Row(what, [load["rate"] for load in loads], parts, [load["p99_ms"] for load in loads])


# --- Keys ---


def _keys(ours: Stage, options: Namespace) -> Iterator[Row]:
    """One key; then ever more, each used in turn, so that with the most of them no call finds its key remembered."""
    target = ours.target()
    yield _measure(target, "1 key", options)
    anonymous = replace(target, headers={})
    secrets: list[str] = []
    count = 100
    while count <= options.keys:
        secrets += _issue(ours, count - len(secrets))
        with NamedTemporaryFile("w", suffix=".keys") as file:
            file.write("\n".join(random.Random(1).sample(secrets, len(secrets))))
            file.flush()
            yield _measure(anonymous, f"{count:,} keys, used in turn", options, "--keys", file.name)
        count = options.keys if count < options.keys < count * 10 else count * 10
    yield _measure(target, f"1 of {len(secrets) + 1:,} keys", options)


def _issue(ours: Stage, count: int) -> list[str]:
    """Keys with a spend limit each, of organizations with credit; like one that was issued as ever. Their secrets."""
    from accounts.models import Budget
    from apikeys.models import APIKey
    from apikeys.services.digests import make_secret, stored
    from billing.services import ensure_account
    from common.ids import uuid7

    secrets: list[str] = []
    while len(secrets) < count:
        key, _ = ours.issue_key()
        ensure_account(key.organization)  # or the first call of each organization would make it
        limit = Budget.objects.get(subject_id=key.pk)
        many = min(PER_ORGANIZATION, count - len(secrets))
        made = [make_secret("live") for _ in range(many)]
        keys = [_copy(key, id=uuid7(), **stored(secret)) for secret in made]
        limits = [_copy(limit, id=uuid7(), subject_id=key.pk) for key in keys]
        APIKey.objects.bulk_create(keys, batch_size=BULK)
        Budget.objects.bulk_create(limits, batch_size=BULK)
        secrets += made
    ours.ground.execute("ANALYZE apikeys_apikey, accounts_budget, accounts_organization, accounts_membership")
    return secrets


def _copy(row: Any, **values: Any) -> Any:
    """A row like it that is not stored yet."""
    fields = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row)(**fields | values)


# --- Stored calls ---


def _calls(ours: Stage, options: Namespace) -> Iterator[Row]:
    """Nothing but today's calls; then ever more behind them, in a partition for each of the last 90 days."""
    target = ours.target()
    execute = ours.ground.execute
    execute("SELECT gateway_create_partitions((now() AT TIME ZONE 'UTC')::date - %s, %s)", [DAYS, DAYS])
    stored = 0
    for count in filter(None, (options.stored // 10, options.stored)):
        began = time.monotonic()
        for day in range(1, DAYS + 1):
            _fill(ours, day, first=stored // DAYS, last=count // DAYS)
        stored = count
        execute("CHECKPOINT", superuser=True)
        _say(f"{stored:,} calls stored in {time.monotonic() - began:.0f} s")
        yield _measure(target, f"{stored:,} stored calls, {DAYS} days", options)
    size = execute("SELECT pg_size_pretty(pg_database_size(current_database()))")[0][0]
    _say(f"the database has {size}")


def _fill(ours: Stage, days_ago: int, *, first: int, last: int) -> None:
    """Copies of the latest call and its usage event, spread over one day and over organizations."""
    ((today,),) = ours.ground.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
    day: date = today - timedelta(days=days_ago)
    found = ours.ground.execute("SELECT id::text FROM accounts_organization ORDER BY id LIMIT 50")
    organizations = ", ".join(f"'{id}'" for (id,) in found)
    for name in TABLES:
        partition = f"{name}_{day:%Y%m%d}"
        columns = [
            column
            for (column,) in ours.ground.execute(
                "SELECT column_name::text FROM information_schema.columns WHERE table_name = %s"
                " AND is_generated = 'NEVER' ORDER BY ordinal_position",
                [name],
            )
        ]
        values = [
            OWN_COLUMNS[column].format(organizations=organizations, count=len(found))
            if column in OWN_COLUMNS
            else f'one."{column}"'
            for column in columns
        ]
        names = ", ".join(f'"{column}"' for column in columns)
        ours.ground.execute(
            f"INSERT INTO {partition} ({names}) SELECT {', '.join(values)}"
            f" FROM (SELECT * FROM {name} {_LATEST[name]} ORDER BY id DESC LIMIT 1) one,"
            f" LATERAL (SELECT n, '{day}'::timestamptz + n * interval '1 day' / {last + 1} AS at"
            f" FROM generate_series({first + 1}, {last}) n) many"
        )
        ours.ground.execute(f"VACUUM (ANALYZE, FREEZE) {partition}")


_LATEST = {"gateway_invocation": "WHERE state = 'final'", "billing_usageevent": ""}


def _books_of_what_was_called(ours: Stage) -> Sequence[str]:
    """Without the copies, which rest on no budget."""
    for day in range(1, DAYS + 1):
        for name in TABLES:
            ours.ground.execute(
                f"DO $$ BEGIN EXECUTE format('DROP TABLE %I', '{name}_' ||"
                f" to_char((now() AT TIME ZONE 'UTC')::date - {day}, 'YYYYMMDD')); END $$"
            )
    return ours.check_books()


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
