"""The request log: a row for each request to the API, written beside the requests and never in their way.

A request leaves its facts in a queue of this process and goes on. Once a second they are written together: by a task of
the gateway's event loop, elsewhere by a thread. What does not fit into the queue is dropped, and the log says how much.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import struct
import threading
from collections import deque
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection, transaction

from observability.services.context import shorten

logger = structlog.get_logger(__name__)

CAPACITY = 10_000  # rows that wait in one process, at most
BATCH = 1_000
SECONDS = 1
DAYS_AHEAD = 7

COLUMNS = "id, at, actor_user_id, actor_key_id, organization_id, method, route, status, ms, error_code, address, client"


class Seen(NamedTuple):
    """One request, as it ended. Never its query, headers or body."""

    id: UUID
    user_id: UUID | None
    key_id: UUID | None
    organization_id: UUID | None
    method: str
    route: str
    status: int
    ms: float
    error_code: str
    address: str
    client: str


_waiting: deque[Seen] = deque()
_dropped = 0
_has_writer = False
_starting, _writing = threading.Lock(), threading.Lock()
_thread: threading.Thread | None = None
_stop = threading.Event()


def note_request(seen: Seen) -> None:
    """Leave a request to be written. Never waits; may be called on an event loop."""
    global _dropped
    if len(_waiting) >= CAPACITY:
        _dropped += 1
        return
    _waiting.append(seen)
    if not _has_writer and settings.REQUEST_LOG_THREAD:
        _start_thread()


def waiting_requests() -> int:
    """How many rows wait in this process."""
    return len(_waiting)


def write_requests() -> int:
    """Write what waits. Returns how many rows. When the database is away, they wait on, and its error is raised."""
    global _dropped
    written = 0
    with _writing:
        if _dropped:
            dropped, _dropped = _dropped, 0
            logger.warning("request_log_dropped", rows=dropped)
        while batch := [_waiting.popleft() for _ in range(min(BATCH, len(_waiting)))]:
            try:
                _insert(batch)
                written += len(batch)
            except (OperationalError, InterfaceError):
                _waiting.extendleft(reversed(batch))
                raise
            except DatabaseError as error:
                logger.error("request_log_lost", rows=len(batch), error=f"{type(error).__name__}: {error}")
    return written


def forget_waiting_requests() -> None:
    """Empty the queue, for tests."""
    _waiting.clear()


def _insert(batch: list[Seen]) -> None:
    try:
        _copy(batch)
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError:  # most likely there is no partition for the day
        create_request_partitions()
        _copy(batch)


def _copy(batch: list[Seen]) -> None:
    into = f"COPY observability_requestlog ({COLUMNS}) FROM STDIN (FORMAT binary)"
    errors = connection.wrap_database_errors
    with transaction.atomic(), connection.cursor() as cursor, errors, cursor.copy(into) as copy:
        copy.write(b"".join((COPY_HEAD, *[_row(seen) for seen in batch], COPY_END)))


# Rows as COPY takes them in binary, which is made in half the time of text: the number of columns, then each with its
# length before it. https://www.postgresql.org/docs/current/sql-copy.html
COPY_HEAD, COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
EPOCH_MS = 946_684_800_000  # PostgreSQL counts from the year 2000, in microseconds
_begin = struct.Struct("!hi16siq").pack  # twelve columns; id, at
_numbers = struct.Struct("!ihii").pack  # status, ms
_length = struct.Struct("!i").pack


def _row(seen: Seen) -> bytes:
    id = seen.id.int
    return b"".join(
        (
            _begin(12, 16, id.to_bytes(16), 8, ((id >> 80) - EPOCH_MS) * 1000),  # when it came
            _uuid(seen.user_id),
            _uuid(seen.key_id),
            _uuid(seen.organization_id),
            _text(seen.method[:10]),
            _text(seen.route[:60]),
            _numbers(2, seen.status, 4, round(seen.ms)),
            _text(seen.error_code[:40]),
            _text(seen.address),
            _text(shorten(seen.client)),
        )
    )


def _uuid(value: UUID | None) -> bytes:
    return NULL if value is None else b"\0\0\0\x10" + value.int.to_bytes(16)


@lru_cache(maxsize=1024)
def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "replace").replace(b"\0", b"")
    return _length(len(encoded)) + encoded


# --- Who writes -------------------------------------------------------------------------------------------------------


def write_requests_here(yes: bool) -> None:
    """This process calls `write_requests` by itself, and needs no thread for it; or does so no more."""
    global _has_writer
    _has_writer = yes


def _start_thread() -> None:
    global _has_writer, _thread
    with _starting:
        if _has_writer:
            return
        _has_writer = True
        _stop.clear()
        _thread = threading.Thread(target=_write_until_stopped, name="request-log", daemon=True)
        _thread.start()
    atexit.register(end_thread)


def end_thread() -> None:
    """Write what waits, and let the thread end."""
    _stop.set()
    if _thread is not None:
        _thread.join(5)


def _write_until_stopped() -> None:
    while not _stop.wait(SECONDS):
        _write_once()
    _write_once()
    connection.close()


def _write_once() -> None:
    try:
        close_old_connections()
        write_requests()
    except Exception:
        logger.warning("request_log_waits", rows=len(_waiting), exc_info=True)
    finally:
        with contextlib.suppress(Exception):
            close_old_connections()


def _forget_thread() -> None:
    """A fork has the queue of its parent, whose rows the parent writes, and no thread."""
    global _has_writer, _dropped, _starting, _writing, _thread, _stop
    _waiting.clear()
    _has_writer, _dropped, _thread, _stop = False, 0, None, threading.Event()
    _starting, _writing = threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_forget_thread)


# --- Partitions -------------------------------------------------------------------------------------------------------


def create_request_partitions() -> int:
    """A place for the rows of the coming days. Returns how many were made."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_log_create_partitions((clock_now() AT TIME ZONE 'UTC')::date, %s)", [DAYS_AHEAD + 1]
        )
        return int(cursor.fetchone()[0])


def rotate_request_log() -> int:
    """Make room for the coming days and drop the days before the last REQUEST_LOG_DAYS. Returns how many it dropped."""
    create_request_partitions()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_log_drop_partitions((clock_now() AT TIME ZONE 'UTC')::date - %s)",
            [settings.REQUEST_LOG_DAYS],
        )
        return int(cursor.fetchone()[0])
