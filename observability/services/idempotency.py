"""Idempotency keys: what a key may be, when two requests are the same, and how the first one's answer is kept.

A request holds its key for `KEPT_FOR`. Answers are sealed: elsewhere the database holds no prompt and no answer, and
neither shall its backups. See docs/idempotency.md.
"""

from __future__ import annotations

import hmac
import json
import re
import zlib
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from common import clock
from common.sealing import count_retired, open_sealed, reseal_column, seal
from observability.errors import IdempotencyKeyInvalid
from observability.models import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
MAX_KEPT_BYTES = 4 * 1024 * 1024  # of an answer as it is sent
PRUNED_AT_ONCE = 2_000

_KEY = re.compile(rb"[!-~]{1,255}")


class Kept(NamedTuple):
    """The answer of the first request. `id`: of that request."""

    id: UUID
    status: int
    headers: dict[str, str]
    body: bytes


def hash_key(value: bytes) -> bytes:
    """What is stored of the key in the header. Raises IdempotencyKeyInvalid."""
    if not _KEY.fullmatch(value):
        raise IdempotencyKeyInvalid()
    return sha256(value).digest()


def fingerprints(method: str, path: str, mode: str, body: bytes) -> list[bytes]:
    """What the same request has in common, under each pepper, the newest first: whoever reads the rows without one
    cannot try which prompt it was."""
    request = b"\0".join([b"agorai-idempotency", method.encode(), path.encode(), mode.encode(), sha256(body).digest()])
    return [hmac.digest(pepper, request, "sha256") for pepper in settings.KEY_PEPPERS.values()]


class Recording:
    """An answer on its way out, packed as it goes: a stream is mostly repetition."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(1)
        self._parts: list[bytes] = []
        self._size = 0

    def note(self, data: bytes) -> None:
        """Some bytes of the body, in their order."""
        self._size += len(data)
        if self.is_kept:
            self._parts.append(self._packer.compress(data))
        else:
            self._parts.clear()

    @property
    def is_kept(self) -> bool:
        """Whether it is small enough so far."""
        return self._size <= MAX_KEPT_BYTES

    def seal(self, id: UUID, status: int, headers: Mapping[str, str]) -> bytes:
        """All of it, for the row whose request is `id`. To be called once."""
        head = json.dumps([status, dict(headers)]).encode()
        return seal(b"".join([head, b"\n", *self._parts, self._packer.flush()]), answer_context(id))


def open_answer(id: UUID, sealed: bytes) -> Kept:
    """What `Recording.seal` made. Raises SealError."""
    head, _, packed = open_sealed(sealed, answer_context(id)).partition(b"\n")
    status, headers = json.loads(head)
    return Kept(id, status, headers, zlib.decompress(packed))


def prune_idempotency_keys() -> int:
    """Forget the keys that are held no longer, with the answers. Returns how many."""
    before = clock.now() - KEPT_FOR
    forgotten = 0
    while True:
        old = IdempotencyKey.objects.filter(claimed_at__lte=before).order_by("claimed_at")
        count = IdempotencyKey.objects.filter(
            pk__in=list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE]), claimed_at__lte=before
        ).delete()[0]
        forgotten += count
        if count < PRUNED_AT_ONCE:
            return forgotten


def reseal_answers() -> int:
    """Bring kept answers under the current key-encryption key. Returns how many changed."""
    rows = IdempotencyKey.objects.all()
    return reseal_column(rows, "sealed_answer", lambda row: answer_context(row.pk), chunk_size=20)


def count_retired_answers() -> int:
    """How many kept answers are not under the current key-encryption key."""
    return count_retired(IdempotencyKey.objects.all(), "sealed_answer", chunk_size=20)


def answer_context(id: UUID) -> str:
    """What an answer is sealed for: opened for another request it is refused."""
    return f"observability.IdempotencyKey.sealed_answer:{id}"
