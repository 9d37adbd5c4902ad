"""`Idempotency-Key`: a call that is repeated under its key has one effect and one answer.

The key is claimed in one statement before the call is reserved, and its answer is kept before the call is settled. No
second state says how far the first request came: its call does.

| The call | The answer | A repeat |
|---|---|---|
| does not exist, or is `started` | | 409: it is running |
| delivered nothing, or never began for as long as an orphan | | claims the key, and is a new call |
| delivered, or there is none | kept | gets it |
| delivered | too large, or lost with the process | 422: it is not made and charged again |
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from common.ids import encode
from common.problems import ServiceUnavailable
from common.sealing import SealError
from gateway.hotpath.orm import AWAY_SECONDS
from gateway.services.calls import ORPHAN_AFTER_SECONDS
from gateway.services.policy import UNDELIVERED
from observability.errors import IdempotencyKeyReused, IdempotentAnswerNotKept, IdempotentRequestRunning
from observability.services import KEPT_FOR, Kept, Recording, fingerprints, hash_key, open_answer

logger = logging.getLogger(__name__)

HEADER = b"idempotency-key"
ASIDE_BYTES = 64 * 1024  # what is larger is hashed, packed and opened on a thread
LONGEST_WAIT_SECONDS = 30  # that a repeat is told to wait
TRIES = 3

#: How a call ends whose key is free again. What is not listed is never done twice.
FREES = sorted(rule.value for rule in UNDELIVERED)

CLAIM = """
INSERT INTO observability_idempotencykey AS k (id, organization_id, key_hash, fingerprint, call_id, claimed_at)
VALUES (%(id)s, %(organization)s, %(key)s, %(fingerprint)s, %(id)s, clock_now())
    ON CONFLICT (organization_id, key_hash) DO UPDATE
   SET id = excluded.id, fingerprint = excluded.fingerprint, call_id = excluded.call_id,
       claimed_at = excluded.claimed_at, sealed_answer = NULL
 WHERE k.id = excluded.id OR k.claimed_at <= clock_now() - %(kept_for)s::interval
    OR (k.call_id IS NOT NULL
        AND coalesce((SELECT c.state = 'final' AND c.rule = ANY (%(frees)s::text[]) FROM gateway_invocation c
                       WHERE c.id = k.call_id), k.claimed_at <= clock_now() - %(orphaned)s::interval))
RETURNING id
"""

HELD = """
SELECT k.id, k.fingerprint, k.sealed_answer, extract(epoch FROM clock_now() - k.claimed_at)::float,
       coalesce(c.state = 'final' AND c.rule <> ALL (%(frees)s::text[]), k.call_id IS NULL),
       coalesce(c.state = 'final' AND c.rule = ANY (%(frees)s::text[]), false)
  FROM observability_idempotencykey k LEFT JOIN gateway_invocation c ON c.id = k.call_id
 WHERE k.organization_id = %(organization)s AND k.key_hash = %(key)s
"""

KEEP = "UPDATE observability_idempotencykey SET sealed_answer = %s, call_id = %s WHERE id = %s RETURNING id"
FOLLOW = "UPDATE observability_idempotencykey SET call_id = %s WHERE id = %s RETURNING id"

RELEASE = """
DELETE FROM observability_idempotencykey k
 WHERE k.id = %s AND k.call_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM gateway_invocation c WHERE c.id = k.call_id
                      AND NOT (c.state = 'final' AND c.rule = ANY (%s::text[])))
RETURNING id
"""


class IdempotencyKeys:
    """Those of all organizations."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def claim(
        self, key: bytes, *, id: UUID, organization_id: UUID, method: str, path: str, mode: str, body: bytes
    ) -> Claim | Kept:
        """The key, held by the request `id` from now on; or the answer that the first request got.

        Raises IdempotencyKeyInvalid, IdempotencyKeyReused, IdempotentRequestRunning, IdempotentAnswerNotKept, and
        ServiceUnavailable when the database does not answer.
        """
        prints: list[bytes] = await aside(len(body), fingerprints, method, path, mode, body)
        facts: dict[str, Any] = {
            "id": id,
            "organization": organization_id,
            "key": hash_key(key),
            "fingerprint": prints[0],
            "kept_for": KEPT_FOR,
            "orphaned": timedelta(seconds=ORPHAN_AFTER_SECONDS),
            "frees": FREES,
        }
        for _ in range(TRIES):
            if await self._ask(CLAIM, facts) is not None:
                return Claim(self, id)
            if (row := await self._ask(HELD, facts)) is None:
                continue  # it was let go in this moment
            first, fingerprint, sealed, age_seconds, was_delivered, is_free = row
            if fingerprint not in prints:
                raise IdempotencyKeyReused()
            if was_delivered:
                return await _opened(first, sealed)
            if not is_free:
                raise IdempotentRequestRunning(retry_after_seconds=min(max(1, int(age_seconds)), LONGEST_WAIT_SECONDS))
        raise IdempotentRequestRunning(retry_after_seconds=1)  # others are as quick as we are, each time

    async def keep(self, id: UUID, call_id: UUID | None, sealed: bytes) -> None:
        """Raises IdempotentRequestRunning when another request has taken the key over, and ServiceUnavailable."""
        await self._change(KEEP, [sealed, call_id, id])

    async def follow(self, id: UUID, call_id: UUID) -> None:
        """Raises as `keep` does."""
        await self._change(FOLLOW, [call_id, id])

    async def release(self, id: UUID) -> None:
        """Free the key, unless its call may have been delivered. Raises ServiceUnavailable."""
        await self._ask(RELEASE, [id, FREES])

    async def _change(self, query: str, parameters: Any) -> None:
        if await self._ask(query, parameters) is None:
            raise IdempotentRequestRunning(retry_after_seconds=1)

    async def _ask(self, query: str, parameters: Any) -> tuple[Any, ...] | None:
        """The one row, if there is one. Each statement may be sent twice. Raises ServiceUnavailable."""
        try:
            try:
                return await self._send(query, parameters)
            except PoolTimeout:
                raise
            except (
                psycopg.OperationalError
            ):  # after a restart every connection is dead, and this is the first to say so
                await self._pool.check()
                return await self._send(query, parameters)
        except psycopg.OperationalError as error:
            logger.warning("idempotency_unavailable", extra={"error": type(error).__name__})
            raise ServiceUnavailable("The database does not answer.", retry_after_seconds=AWAY_SECONDS) from None

    async def _send(self, query: str, parameters: Any) -> tuple[Any, ...] | None:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchone()


class Claim:
    """A key while its request runs. What is sent is noted and then kept, or the key is released."""

    def __init__(self, keys: IdempotencyKeys, id: UUID) -> None:
        self._keys, self._id = keys, id
        self._recording = Recording()
        self.headers: Mapping[str, str] = {}  # of the answer, those that a repeat gets too

    def note(self, data: bytes) -> None:
        """Some bytes of the answer, in their order, whether the caller is still there or not."""
        self._recording.note(data)

    @property
    def is_kept(self) -> bool:
        """Whether the answer is small enough so far for a repeat to get it."""
        return self._recording.is_kept

    async def keep(self, call_id: UUID | None, body: bytes | None = None, *, status: int = 200) -> None:
        """Make durable what was noted, or `body`: the answer of that call, which counts once the call is settled; of no
        call, which counts at once. What is too large is not kept.

        Raises IdempotentRequestRunning when another request has taken the key over meanwhile, and ServiceUnavailable.
        """
        sealed = await aside(len(body or b""), self._seal, body, status)
        if sealed is not None:
            await self._keys.keep(self._id, call_id, sealed)

    async def follow(self, call_id: UUID) -> None:
        """The request makes another call, after one that delivered nothing. Raises as `keep` does."""
        await self._keys.follow(self._id, call_id)

    async def release(self) -> None:
        """Free the key after a refusal or a failure. Where that cannot be done, its call or its age frees it."""
        with contextlib.suppress(ServiceUnavailable):
            await self._keys.release(self._id)

    def _seal(self, body: bytes | None, status: int) -> bytes | None:
        recording = self._recording
        if body is not None:
            recording = Recording()
            recording.note(body)
        return recording.seal(self._id, status, self.headers) if recording.is_kept else None


async def _opened(id: UUID, sealed: bytes | None) -> Kept:
    if sealed is not None:
        try:
            kept: Kept = await aside(len(sealed), open_answer, id, sealed)
            return kept
        except SealError:
            logger.error("kept_answer_does_not_open", extra={"request_id": encode("req", id)})
    raise IdempotentAnswerNotKept(original_request_id=encode("req", id))


async def aside(size: int, work: Any, *arguments: Any) -> Any:
    """On a thread what would keep other calls waiting."""
    return work(*arguments) if size <= ASIDE_BYTES else await asyncio.to_thread(work, *arguments)
