"""When a key was used last, from where and by what; noted in batches, a minute apart at the least."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from apikeys.models import APIKey, KeyClient
from common.clock import ClockNow
from observability.services import shorten

USED_AT_MOST_EVERY = timedelta(minutes=1)
MAX_CLIENTS = 20  # that are kept of one key
KEPT = timedelta(days=90)
MAX_CLIENT = 60

_PRODUCT = re.compile(r"([A-Za-z][\w.+-]{0,40})(?:/([\w.+-]{1,20}))?", re.ASCII)
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Version", "Safari"))
_NAMES = {"OpenAI/Python": "openai-python", "AsyncOpenAI/Python": "openai-python", "OpenAI/JS": "openai-node"}

# Weak locks: they stand in nobody's way who only refers to the key, as the rows of clients do.
TOUCH = """UPDATE apikeys_apikey k
   SET last_used_at = clock_now(), last_used_address = u.address, last_used_client = u.client
  FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS u (key_id, address, client)
 WHERE k.id = u.key_id AND k.id IN (
       SELECT id FROM apikeys_apikey
        WHERE id = ANY(%s::uuid[]) AND (last_used_at IS NULL OR last_used_at < clock_now() - %s)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""
NOTE = """
INSERT INTO apikeys_keyclient (id, key_id, client, address, first_seen_at, last_seen_at)
SELECT gen_random_uuid(), u.key_id, u.client, u.address, clock_now(), clock_now()
  FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS u (key_id, client, address)
 ORDER BY u.key_id, u.client, u.address
    ON CONFLICT (key_id, client, address) DO UPDATE SET last_seen_at = clock_now()
 WHERE apikeys_keyclient.last_seen_at < clock_now() - %s
RETURNING key_id, xmax = 0
"""
FORGET = """
DELETE FROM apikeys_keyclient WHERE id IN (
  SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY key_id ORDER BY last_seen_at DESC, id) AS place
      FROM apikeys_keyclient WHERE key_id = ANY(%s::uuid[])
  ) AS ranked WHERE place > %s)
"""


class Use(NamedTuple):
    """A key was used from this address by a client that calls itself so; both may be empty."""

    key_id: UUID
    address: str = ""
    user_agent: str = ""


def client_of(user_agent: str) -> str:
    """What a client calls itself, in two words: “openai-python 3.54.0”, “curl 8.5.0”, “Firefox 140”."""
    text = shorten(user_agent)
    for begin, name in _NAMES.items():
        if text.startswith(begin):
            version = text[len(begin) :].lstrip("/ ").split(" ")[0]
            return f"{name} {version}".strip()[:MAX_CLIENT]
    if text.startswith("Mozilla/"):
        for product, name in _BROWSERS:
            if found := re.search(rf"\b{product}\w*/([0-9]+)", text):
                return f"{name} {found[1]}"
        return "browser"
    found = _PRODUCT.match(text)
    return f"{found[1]} {found[2] or ''}".strip()[:MAX_CLIENT] if found else ""


@transaction.atomic
def touch_keys(uses: Iterable[Use]) -> int:
    """Note that these keys were used just now: each key, and each of its clients, at most once a minute.

    Of several uses of one key the last counts as the latest. Returns how many keys changed.
    """
    latest: dict[UUID, tuple[str, str]] = {}
    seen: dict[UUID, dict[tuple[str, str], None]] = {}
    for use in uses:
        client = client_of(use.user_agent)
        latest[use.key_id] = (use.address, client)
        seen.setdefault(use.key_id, {})[client, use.address] = None
    addresses, clients = [address for address, _ in latest.values()], [client for _, client in latest.values()]
    parameters: list[Any] = [list(latest), addresses, clients, list(latest), USED_AT_MOST_EVERY]
    with connection.cursor() as cursor:
        cursor.execute(TOUCH, parameters)
        changed = int(cursor.rowcount)
    _note_clients([(id, *pair) for id, pairs in seen.items() for pair in list(pairs)[-MAX_CLIENTS:]])
    return changed


def _note_clients(seen: list[tuple[UUID, str, str]]) -> None:
    if not seen:
        return
    keys, clients, addresses = (list(column) for column in zip(*seen, strict=True))
    parameters: list[Any] = [keys, clients, addresses, USED_AT_MOST_EVERY]
    with connection.cursor() as cursor:
        cursor.execute(NOTE, parameters)
        if grown := [key_id for key_id, is_new in cursor.fetchall() if is_new]:
            cursor.execute(FORGET, [grown, MAX_CLIENTS])


def is_use_due(key: APIKey, at: datetime, *, address: str, user_agent: str) -> bool:
    """Whether `touch_keys` may have something to write: saves the statements of a key that is used all the time."""
    if key.last_used_at is None or key.last_used_at < at - USED_AT_MOST_EVERY:
        return True
    return (address, client_of(user_agent)) != (key.last_used_address or "", key.last_used_client)


def recent_clients(key: APIKey, *, since: datetime) -> list[KeyClient]:
    """What used the key since then, the latest first."""
    return list(KeyClient.objects.filter(key=key, last_seen_at__gte=since).order_by("-last_seen_at"))


def prune_clients() -> int:
    """Forget clients that used no key for long; the number that went."""
    return KeyClient.objects.filter(last_seen_at__lt=ClockNow() - KEPT).delete()[0]
