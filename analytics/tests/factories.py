"""Calls of the past, and pages as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import count
from typing import Any
from uuid import UUID

from django.db import connection

from common.ids import first_uuid
from gateway.models import Invocation
from gateway.tests.factories import make_call


@contextmanager
def clock_at(at: datetime) -> Iterator[None]:
    """The database's clock shows this instant, and goes on from there."""
    shift = (at - datetime.now(UTC)).total_seconds()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [f"{shift:.6f} seconds"])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('agorai.clock_offset', '0', true)")


def make_call_at(at: datetime, ai_model: Any, **values: Any) -> Invocation:
    """A call that began at this instant, on a day that may be long past. Its id may be of the day before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_create_partitions(%s, 2)", [at.astimezone(UTC).date() - timedelta(days=1)])
    with clock_at(at):
        return make_call(ai_model, **{"id": UUID(int=first_uuid(at).int | next(_numbers)), **values})


_numbers = count(1)  # so that calls of one millisecond have ids of their own


def words(answer: Any) -> str:
    """What a page says inside its main part, without markup, one space between words."""
    html = answer.content.decode()
    main = html[html.index("<main") : html.index("</main>")]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main))).strip()


def tiles(answer: Any) -> list[str]:
    """The figures of the stat tiles."""
    return [
        unescape(re.sub(r"<[^>]+>", "", v))
        for v in re.findall(r'<span class="v">(.*?)</span>', answer.content.decode())
    ]


def cells(answer: Any, table: int = 0) -> list[list[str]]:
    """The rows of a table's body as people read them; the tables inside charts do not count."""
    html = re.sub(r"<figure.*?</figure>", "", answer.content.decode(), flags=re.S)
    body = re.findall(r"<tbody>(.*?)</tbody>", html, re.S)[table]
    return [
        [
            re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", cell))).strip()
            for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.S)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.S)
    ]
