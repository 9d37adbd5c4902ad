"""How somebody with every right in the database, or with an export, may try to change what the audit log says."""

# Statements are put together from names and numbers of this file.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from uuid import UUID

TABLE = "observability_auditevent"
#: What the application's role must not do; the first three not even the owner.
FORBIDDEN = (
    f"UPDATE {TABLE} SET action = 'other.done'",
    f"DELETE FROM {TABLE}",
    f"TRUNCATE {TABLE}",
    f"UPDATE {TABLE} SET seq = -seq",
    f"INSERT INTO {TABLE} SELECT * FROM {TABLE} ON CONFLICT (id) DO UPDATE SET action = 'other.done'",
    f"MERGE INTO {TABLE} e USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE",
    f"SELECT * FROM {TABLE} FOR UPDATE",
    f"ALTER TABLE {TABLE} DISABLE TRIGGER USER",
    f"DROP TRIGGER audit_stands ON {TABLE}",
    f"DROP TABLE {TABLE}",
    f"ALTER TABLE {TABLE} RENAME TO elsewhere",
    "CREATE OR REPLACE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "DROP FUNCTION audit_seal() CASCADE",
    "SELECT setval('observability_audit_draft', 1)",
    "SET session_replication_role = replica",
)
FORGED = (
    f"INSERT INTO {TABLE} (id, seq, at, action, target_type, address, client, previous_hash, hash)"
    " VALUES (gen_random_uuid(), 1, '2001-01-01', 'forged.done', '', '', '', 'x', 'y')"
)
FORGERY = f"SELECT seq, at > now() - interval '1 hour' FROM {TABLE} WHERE action = 'forged.done'"


@contextmanager
def as_intruder() -> Iterator[Callable[[str], None]]:
    """Without the triggers, where the owner is connected; afterwards nothing has happened."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
        yield cursor.execute
        transaction.set_rollback(True)


# Numbers further away than there are events.
APART = 1_000_000
REWRITE = f"""DO $$ DECLARE e {TABLE}; last text := repeat('0', 64); BEGIN
  FOR e IN SELECT * FROM {TABLE} ORDER BY seq LOOP
    e.previous_hash := last; last := audit_hash(e);
    UPDATE {TABLE} SET previous_hash = e.previous_hash, hash = last WHERE id = e.id;
  END LOOP; END $$"""


def _column(random: Random) -> str:
    id = UUID(int=random.getrandbits(128))
    return random.choice(
        [
            "action = 'other.done'",
            "target_type = 'model'",
            "address = '192.0.2.1'",
            "client = 'curl/8'",
            *(
                f"{name} = '{id}'"
                for name in ("id", "actor_user_id", "actor_key_id", "organization_id", "subject_user_id", "target_id")
            ),
            f"request_id = '{id}'",
            "before = NULL",
            "after = NULL",
            "after = jsonb_set(after, '{number}', '\"7\"')",
            "after = after || '{\"more\": null}'",
            "at = at + interval '1 microsecond'",
            "at = at - interval '1 day'",
        ]
    )


def _edit(random: Random, last: int) -> Iterator[str]:
    yield f"UPDATE {TABLE} SET {_column(random)} WHERE seq = {random.randint(3, last)}"


def _edit_and_hash(random: Random, last: int) -> Iterator[str]:
    seq = random.randint(3, last)
    yield f"UPDATE {TABLE} SET {_column(random)} WHERE seq = {seq}"
    yield f"UPDATE {TABLE} e SET hash = audit_hash(e) WHERE seq = {seq}"


def _edit_the_hash(random: Random, last: int) -> Iterator[str]:
    name = random.choice(["hash", "previous_hash"])
    yield f"UPDATE {TABLE} SET {name} = '{random.getrandbits(256):064x}' WHERE seq = {random.randint(1, last)}"


def _delete(random: Random, last: int) -> Iterator[str]:
    first = random.randint(1, last - 1)
    yield f"DELETE FROM {TABLE} WHERE seq BETWEEN {first} AND {min(first + random.randint(0, 5), last - 1)}"


def _delete_and_close_up(random: Random, last: int) -> Iterator[str]:
    seq = random.randint(1, last - 1)
    yield f"DELETE FROM {TABLE} WHERE seq = {seq}"
    yield f"UPDATE {TABLE} SET seq = seq + {APART} WHERE seq > {seq}"
    yield f"UPDATE {TABLE} SET seq = seq - {APART} - 1 WHERE seq > {APART}"
    if random.random() < 0.5:
        yield REWRITE


def _insert(random: Random, last: int) -> Iterator[str]:
    seq = random.randint(2, last)
    yield f"UPDATE {TABLE} SET seq = seq + {APART} WHERE seq >= {seq}"
    yield f"UPDATE {TABLE} SET seq = seq - {APART} + 1 WHERE seq > {APART}"
    yield _copy(seq - 1, seq, "e.hash")
    if random.random() < 0.5:
        yield f"UPDATE {TABLE} e SET hash = audit_hash(e) WHERE seq = {seq}"


def _insert_past_the_chain(random: Random, last: int) -> Iterator[str]:
    yield _copy(random.randint(1, last), -random.randint(APART, 2 * APART), "''")


def _copy(of: int, seq: int, previous_hash: str) -> str:
    facts = f"jsonb_build_object('id', gen_random_uuid(), 'seq', {seq}, 'previous_hash', {previous_hash})"
    made = f"(jsonb_populate_record(e, {facts})).*"
    return f"INSERT INTO {TABLE} SELECT {made} FROM {TABLE} e WHERE seq = {of}"


def _swap(random: Random, last: int) -> Iterator[str]:
    one, other = random.sample(range(1, last + 1), 2)
    yield f"UPDATE {TABLE} SET seq = {APART} WHERE seq = {one}"
    yield f"UPDATE {TABLE} SET seq = {one} WHERE seq = {other}"
    yield f"UPDATE {TABLE} SET seq = {other} WHERE seq = {APART}"
    if random.random() < 0.5:
        yield f"UPDATE {TABLE} e SET hash = audit_hash(e) WHERE seq IN ({one}, {other})"


def _cut(random: Random, last: int) -> Iterator[str]:
    yield cut_to(random.randint(0, last - 1))


def cut_to(seq: int) -> str:
    return f"DELETE FROM {TABLE} WHERE seq > {seq}"


def _cut_and_go_on(random: Random, last: int) -> Iterator[str]:
    """The end is written differently, as if nothing had been there."""
    seq = random.randint(2, last)
    yield f"UPDATE {TABLE} SET {_column(random)} WHERE seq = {max(seq, 3)}"
    yield REWRITE


TAMPERINGS: dict[str, Callable[[Random, int], Iterator[str]]] = {
    "a changed event": _edit,
    "a changed event with a hash of its own": _edit_and_hash,
    "a changed hash": _edit_the_hash,
    "deleted events": _delete,
    "a deleted event, with the rest closed up": _delete_and_close_up,
    "an inserted event": _insert,
    "an event past the chain": _insert_past_the_chain,
    "two events in each other's place": _swap,
    "a cut end": _cut,
    "an end that was written anew": _cut_and_go_on,
}


def with_export(path: Path, lines: list[str], random: Random) -> str:
    """The same with a file."""
    at = random.randrange(len(lines) - 1)
    what = random.choice(["a changed line", "a missing line", "a line more", "two lines swapped", "a cut end"])
    match what:
        case "a changed line":
            event = json.loads(lines[at])
            name = random.choice([name for name in event if name != "seq"])
            event[name] = f"{event[name]}0"
            lines[at] = json.dumps(event, ensure_ascii=False)
        case "a missing line":
            del lines[at]
        case "a line more":
            lines.insert(at, lines[at])
        case "two lines swapped":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        case _:
            del lines[at:]
    path.write_text("\n".join(lines) + "\n")
    return f"{what} of an export"
