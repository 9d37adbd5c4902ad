"""What was read lately, kept in Redis for all processes, and forgotten the moment it changes.

A `Shelf` holds entries, each with a tag. `read` gives what is there and has the rest made; `forget` makes everything
under a tag unreadable, also what is being made of older facts right now: an entry counts only under the version that
its tag had *before* it was made. Nothing is older than `kept_seconds`, not even if Redis was away when it should have
been forgotten. Of many that miss the same entries at once, one makes them and the others wait for it, or are given what
turned `fresh_seconds` old meanwhile. While Redis is away everything is made anew, and inside a transaction too, which
may see what others must not.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 0.2
AWAY_SECONDS = 1.0  # so long nobody asks a server again that did not answer
LOCK_SECONDS = 5.0  # one that makes an entry is given up after this
WAIT_SECONDS = 3.0  # and nobody waits for it longer than this
POLL_SECONDS = 0.005
TAG_SECONDS = 600  # longer than anything that was made before the tag changed can be read
VERSION_BYTES = 16
NEVER = bytes(VERSION_BYTES)  # the version of what was never forgotten
_HEAD = struct.Struct(f"!{VERSION_BYTES}s{VERSION_BYTES}sd")  # of the shelf, of the tag, when it was made


class Made(NamedTuple):
    """An entry that was just made. at_most_seconds: when it is known to end, where that is sooner than usual."""

    body: bytes
    at_most_seconds: float | None = None


Make = Callable[[Sequence[str]], Mapping[str, Made]]


class _Seen(NamedTuple):
    """What Redis said: the version that each entry would be made under, what is fresh, and what may still be shown."""

    versions: dict[str, tuple[bytes, bytes]]
    fresh: dict[str, bytes]
    stale: dict[str, bytes]


class Shelf:
    """Entries of one kind. Safe to share between threads."""

    def __init__(self, name: str, *, fresh_seconds: float = 30, kept_seconds: float = 60) -> None:
        self._prefix = f"agorai:shelf:{name}"
        self._fresh_seconds, self._kept_seconds = fresh_seconds, kept_seconds
        self._away_until = 0.0

    def read(self, wanted: Mapping[str, str], make: Make) -> dict[str, bytes]:
        """The entries of these keys (key -> tag). `make` is given the keys that are missing; what it leaves out is not
        kept and not returned. Raises what `make` raises."""
        if not wanted:
            return {}
        if connection.in_atomic_block or time.monotonic() < self._away_until:
            return _bodies(make(list(wanted)))
        try:
            return self._read(wanted, make)
        except (RedisError, OSError) as error:
            self._leave(error)
        return _bodies(make(list(wanted)))

    def forget(self, tags: Iterable[str]) -> None:
        """From now on nothing that was made under these tags is read. Call it when the change is committed."""
        self._renew([self._tag(tag) for tag in tags])

    def forget_all(self) -> None:
        """From now on nothing that was made before is read."""
        self._renew([self._prefix])

    def _read(self, wanted: Mapping[str, str], make: Make) -> dict[str, bytes]:
        until = time.monotonic() + WAIT_SECONDS
        waited_for = ""
        while True:
            seen = self._look(wanted)
            lacking = [key for key in wanted if key not in seen.fresh]
            if not lacking:
                return seen.fresh
            lock = self._lock(seen.versions, lacking)
            if lock == waited_for or time.monotonic() > until:  # whoever had it could not, or took too long
                return seen.fresh | seen.stale | self._make(lacking, seen, make)
            if _redis().set(lock, b"", nx=True, px=int(LOCK_SECONDS * 1000)):
                try:
                    return seen.fresh | self._make(lacking, seen, make)
                finally:
                    _redis().delete(lock)
            if all(key in seen.stale for key in lacking):
                return seen.fresh | seen.stale
            while _redis().exists(lock) and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
            waited_for = lock

    def _look(self, wanted: Mapping[str, str]) -> _Seen:
        tags = list(dict.fromkeys(wanted.values()))
        found: Any = _redis().mget([self._prefix, *map(self._tag, tags), *map(self._entry, wanted)])
        every = found[0] or NEVER
        versions_of = {tag: version or NEVER for tag, version in zip(tags, found[1:], strict=False)}
        seen = _Seen({key: (every, versions_of[tag]) for key, tag in wanted.items()}, {}, {})
        oldest = time.time() - self._fresh_seconds
        for key, entry in zip(wanted, found[1 + len(tags) :], strict=True):
            if entry is None:
                continue
            *versions, made_at = _HEAD.unpack_from(entry)
            if tuple(versions) == seen.versions[key]:
                (seen.fresh if made_at >= oldest else seen.stale)[key] = entry[_HEAD.size :]
        return seen

    def _make(self, keys: Sequence[str], seen: _Seen, make: Make) -> dict[str, bytes]:
        made = make(keys)
        at = time.time()
        with _redis().pipeline(transaction=False) as pipeline:
            for key, (body, at_most) in made.items():
                seconds = self._kept_seconds if at_most is None else min(self._kept_seconds, at_most)
                if seconds >= 0.001:
                    pipeline.set(self._entry(key), _HEAD.pack(*seen.versions[key], at) + body, px=int(seconds * 1000))
            try:
                pipeline.execute()
            except (RedisError, OSError) as error:  # it was made all the same
                self._leave(error)
        return _bodies(made)

    def _renew(self, names: Sequence[str]) -> None:
        try:
            with _redis().pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.set(name, os.urandom(VERSION_BYTES), ex=TAG_SECONDS)
                pipeline.execute()
        except (RedisError, OSError) as error:
            self._leave(error)

    def _leave(self, error: BaseException) -> None:
        self._away_until = time.monotonic() + AWAY_SECONDS
        logger.warning("Redis does not answer (%s); nothing is kept for a moment", type(error).__name__)

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}:tag:{tag}"

    def _entry(self, key: str) -> str:
        return f"{self._prefix}:{key}"

    def _lock(self, versions: Mapping[str, tuple[bytes, bytes]], keys: Sequence[str]) -> str:
        """Of these entries under these versions: whoever misses them after a change waits for nobody before it."""
        said = repr([(key, versions[key]) for key in keys]).encode()
        return f"{self._prefix}:lock:{hashlib.blake2b(said, digest_size=16).hexdigest()}"


def _bodies(made: Mapping[str, Made]) -> dict[str, bytes]:
    return {key: one.body for key, one in made.items()}


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=redis.retry.Retry(NoBackoff(), 0),
        driver_info=None,
        protocol=2,
    )
