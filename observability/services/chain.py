"""Whether the audit log still says what it said: its chain is computed anew, outside the database.

A chain alone cannot show that its end was cut off, or that all of it was written anew. The head's number and hash,
kept elsewhere by `export_audit_head`, can.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog
from django.conf import settings
from django.db import connection

from common.clock import now
from observability.models import AuditEvent

logger = structlog.get_logger(__name__)

GENESIS = "0" * 64  # the hash before the first event
BATCH = 5_000
#: What a link covers, in the order of the SQL function `audit_hash`.
FIELDS = (
    "seq",
    "id",
    "at",
    "actor_user_id",
    "actor_key_id",
    "organization_id",
    "subject_user_id",
    "action",
    "target_type",
    "target_id",
    "before",
    "after",
    "address",
    "client",
    "request_id",
)
_JSON = ("before", "after")
#: Each column as `audit_hash` reads it; jsonb as the text that the database makes of it.
_COLUMNS = {
    "at": """to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    **{name: f"{name}::text" for name in (*_JSON, *(name for name in FIELDS if name.endswith("id")))},
}
_SELECT = ", ".join(f"{_COLUMNS.get(name, name)} AS {name}" for name in FIELDS)


@dataclass(frozen=True, slots=True)
class Link:
    """One event, ready to be hashed. `values`: each of FIELDS as JSON text."""

    seq: int
    values: Mapping[str, str]
    previous_hash: str
    hash: str

    @property
    def right_hash(self) -> str:
        canonical = "[" + ", ".join(self.values[name] for name in FIELDS) + "]"
        return hashlib.sha256((self.previous_hash + canonical).encode()).hexdigest()

    def line(self) -> str:
        """As one line of JSON, from which the same link can be read again."""
        fields = ", ".join(f'"{name}": {text}' for name, text in self.values.items())
        return f'{{{fields}, "previous_hash": "{self.previous_hash}", "hash": "{self.hash}"}}'


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the head of the chain was at some time."""

    seq: int
    hash: str
    at: str

    def line(self) -> str:
        return json.dumps({"seq": self.seq, "hash": self.hash, "at": self.at})


@dataclass(frozen=True, slots=True)
class Verdict:
    """events: how many were right. fault: what is wrong first, in one sentence; "" if nothing is."""

    events: int
    head: str
    fault: str = ""


# --- Verify -----------------------------------------------------------------------------------------------------------


def verify_chain(anchors: Iterable[Anchor] = ()) -> Verdict:
    """Walk the whole log. An event that is committed while this runs is walked over too, or not yet there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM (SELECT 1 FROM observability_auditevent WHERE seq <= 0 LIMIT 1000) drafts")
        if drafts := cursor.fetchone()[0]:
            return Verdict(0, GENESIS, f"{drafts} events were written past the chain: they have no number in it.")
    return verify_links(stored_links(), anchors)


def verify_links(links: Iterable[Link], anchors: Iterable[Anchor] = ()) -> Verdict:
    """Walk links, which must begin with the first event."""
    expected = {anchor.seq: anchor for anchor in anchors}
    events, hash = 0, GENESIS
    for link in links:
        if fault := _fault_of(link, events + 1, hash, expected):
            return Verdict(events, hash, fault)
        events, hash = link.seq, link.hash
    if expected and (last := expected[max(expected)]).seq > events:
        return Verdict(events, hash, f"The log ends with event {events}, but event {last.seq} was its head {last.at}.")
    return Verdict(events, hash)


def _fault_of(link: Link, seq: int, hash: str, expected: Mapping[int, Anchor]) -> str:
    if link.seq != seq:
        return f"Event {seq} is missing: after event {seq - 1} comes event {link.seq}."
    if link.previous_hash != hash:
        return f"Event {seq} does not follow event {seq - 1}: it was made after another one."
    if link.hash != link.right_hash:
        return f"Event {seq} was changed after it was written."
    if (anchor := expected.get(seq)) is not None and anchor.hash != link.hash:
        return f"Event {seq} is not the one that was the head of the log {anchor.at}: the log was written anew."
    return ""


# --- Read -------------------------------------------------------------------------------------------------------------


def stored_links(condition: str = "", parameters: Iterable[Any] = ()) -> Iterator[Link]:
    """Every event in the order of the chain, in batches. condition: SQL that begins with `AND`."""
    given, last = list(parameters), 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {_SELECT}, previous_hash, hash FROM observability_auditevent"  # noqa: S608
                f" WHERE seq > %s {condition} ORDER BY seq LIMIT %s",
                [last, *given, BATCH],
            )
            rows = cursor.fetchall()
        for row in rows:
            *values, previous_hash, hash = row
            yield Link(values[0], dict(zip(FIELDS, map(_json_text, FIELDS, values), strict=True)), previous_hash, hash)
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


def links_of_lines(lines: Iterable[str]) -> Iterator[Link]:
    """The links of an export as JSON lines. Raises ValueError for what is none."""
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            values = {name: _dumped(found[name]) for name in FIELDS}
            yield Link(int(found["seq"]), values, str(found["previous_hash"]), str(found["hash"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"Line {number} is no exported event.") from error


def _json_text(name: str, value: Any) -> str:
    return cast(str, value) if name in _JSON and value is not None else _dumped(value)


def _dumped(value: Any) -> str:
    """The spelling of jsonb, but for numbers with a point, of which `record` makes none."""
    return json.dumps(value, ensure_ascii=False)


# --- The head, kept elsewhere -----------------------------------------------------------------------------------------


def export_audit_head() -> int:
    """Write number and hash of the newest event to AUDIT_ANCHOR_FILE and into the log of this process.

    Says so, as critical, where the log no longer holds what was its head before. Returns the number; 0 without events.
    """
    head = AuditEvent.objects.filter(seq__gt=0).order_by("-seq").values_list("seq", "hash").first()
    seq, hash = head or (0, GENESIS)
    anchor = Anchor(seq, hash, now().isoformat(timespec="seconds"))
    last = last_anchor()
    if last is not None and _is_lost(last):
        logger.critical("audit_log_was_cut", head=seq, was=last.seq, at=last.at)
        return seq
    if seq and (last is None or seq > last.seq):
        if settings.AUDIT_ANCHOR_FILE:
            _append(Path(settings.AUDIT_ANCHOR_FILE), anchor.line())
        logger.info("audit_head", seq=seq, hash=hash)
    return seq


def read_anchors(path: Path) -> list[Anchor]:
    """Every head that was kept there. Raises OSError, and ValueError for a line that is none."""
    with path.open(encoding="utf-8") as lines:
        return [_anchor(line) for line in lines if line.strip()]


def last_anchor() -> Anchor | None:
    """The newest head in AUDIT_ANCHOR_FILE."""
    path = Path(settings.AUDIT_ANCHOR_FILE) if settings.AUDIT_ANCHOR_FILE else None
    if path is None or not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
        lines = file.read().decode().split("\n")
    found = [line for line in lines if line.strip()]
    return _anchor(found[-1]) if found else None


def _is_lost(anchor: Anchor) -> bool:
    return not AuditEvent.objects.filter(seq=anchor.seq, hash=anchor.hash).exists()


def _anchor(line: str) -> Anchor:
    found = json.loads(line)
    try:
        return Anchor(int(found["seq"]), str(found["hash"]), str(found["at"]))
    except (KeyError, TypeError) as error:
        raise ValueError("not a line of anchors") from error


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())  # one write: two workers never mix their lines
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
