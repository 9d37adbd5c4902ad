"""The way in for thousands of requests: Django's own handler with the whole middleware, in this process, each request
in a transaction that is undone. So every case begins with the same rows, and what a request wrote can be looked at.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import connection, transaction
from django.test import Client

from apikeys.models import APIKey
from common.clock import now
from trust.ground import Ground
from trust.http import Answer
from trust.people import Caller, Town

#: Tables in which nobody's things are, or that are written whenever somebody asks: sessions, and when one was used.
NOT_COMPARED = (
    "^(djstripe_|django_|auth_|observability_requestlog|accounts_browsersession$|apikeys_keyclient$|gateway_sweepmark$)"
)
CACHE = settings.CACHES["default"]["KEY_PREFIX"].encode()
Rows = dict[tuple[str, str], dict[str, Any]]  # by table and primary key


@dataclass(frozen=True, slots=True)
class Reply(Answer):
    """`has_written`: whether anything at all was written meanwhile; `fault`: the last line of a bug's traceback."""

    has_written: bool = False
    fault: str = ""
    cookies: tuple[str, ...] = field(default=())


class Door:
    def __init__(self, ground: Ground) -> None:
        self._client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        self._redis = ground.redis()

    def warm(self, town: Town) -> None:
        """What is written when somebody comes for the first time is written now, and stays: sessions, tokens, accounts.
        That a key was used is noted once a minute; here not again."""
        _ = town.proofs
        for caller in {one.name: one for one in (*town.callers, *town.staff.values())}.values():
            caller.headers(is_api=False)
            self.send("GET", "/api/limits", caller, is_api=True)
        APIKey.objects.update(last_used_at=now() + timedelta(days=1))

    def begin(self) -> Rows:
        """Before the cases of one address: all rows as they are."""
        self.forget_limits()
        with self.undone():
            return self.rows()

    def forget_limits(self) -> None:
        """Some limits are fixed, such as how many invitations one may send in an hour. What the cache holds stays: its
        counters do not bear that others are deleted meanwhile."""
        known = [key for key in self._redis.scan_iter(count=1000) if not key.startswith(CACHE)]
        if known:
            self._redis.delete(*known)

    @contextmanager
    def undone(self) -> Iterator[None]:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)

    def send(self, method: str, path: str, caller: Caller, *, is_api: bool, body: Any = None, **headers: str) -> Reply:
        """One request. `body`: a dictionary, sent as JSON or as a form."""
        sent = {**caller.headers(is_api=is_api), **headers}
        data, content_type = b"", "application/json"
        if body is not None:
            data = json.dumps(body).encode() if is_api else urlencode(body, doseq=True).encode()
            content_type = content_type if is_api else "application/x-www-form-urlencoded"
        self._client.cookies.clear()
        response: Any = self._client.generic(
            method, path, data, content_type, headers={"Host": "localhost:8000", "User-Agent": "trust", **sent}
        )
        content = b"".join(response.streaming_content) if response.streaming else response.content
        kept = {name.lower(): value for name, value in response.headers.items()}
        fault = "".join(traceback.format_exception(*response.exc_info)[-3:]) if response.exc_info else ""
        has_written = self._ask("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")[0][0]
        return Reply(response.status_code, kept, content, has_written, fault, tuple(sorted(response.cookies)))

    def rows(self) -> Rows:
        """Every row as it is now, within this transaction."""
        found = self._ask(self._statement)
        return {(table, key): json.loads(row) for table, key, row in found}

    @cached_property
    def _statement(self) -> str:
        """One query for all tables, with the primary key of each row as text."""
        tables = self._ask(
            "SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) WHERE i.indisprimary"
            " AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND c.relname !~ %s GROUP BY 1 ORDER BY 1",
            [NOT_COMPARED],
        )
        return " UNION ALL ".join(
            f"SELECT '{table}', concat_ws('/', {', '.join(f't.{column}' for column in columns)}), to_jsonb(t)::text"  # noqa: S608
            f" FROM {table} t"
            for table, columns in tables
        )

    @staticmethod
    def _ask(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()


Column = tuple[str, str, str]  # table, column, and the primary key of the row


def differences(before: Rows, after: Rows) -> dict[Column, Any]:
    """Every column that is another one now, with its value; of a new row every column, of one that is gone None."""
    found: dict[Column, Any] = {}
    for (table, key), row in after.items():
        was: Mapping[str, Any] = before.get((table, key), {})
        for column, value in row.items():
            if column not in was or was[column] != value:
                found[table, column, key] = value
    for table, key in before.keys() - after.keys():
        found[table, "", key] = None
    return found
