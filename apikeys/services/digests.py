"""The secret of a key and what is stored of it.

A secret is `agr_live_` or `agr_test_`, 32 random characters and 6 of a checksum over all before it, in base62. It is
stored as an HMAC chain over the peppers, from the oldest to the newest, so a new pepper wraps what is stored without
knowing the secrets; until a row is wrapped, its digest is found under the pepper that was the newest then.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from django.conf import settings
from django.db import transaction

from apikeys.errors import KeyMalformed
from apikeys.models import APIKey

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
SHOWN_OF_RANDOM = 4
SECRET_LENGTH = len("agr_live_") + RANDOM_LENGTH + CHECKSUM_LENGTH
WRAP_BATCH = 1000
REMEMBERED = 10_000  # secrets, at most

_SECRET = re.compile(rf"agr_(?:live|test)_[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


def make_secret(mode: str) -> str:
    head = f"agr_{mode}_" + "".join(secrets.choice(BASE62) for _ in range(RANDOM_LENGTH))
    return head + checksum(head)


def checksum(head: str) -> str:
    """CRC-32 in base62. It keeps noise away from the database and lets scanners know a key; it is no protection."""
    number, digits = zlib.crc32(head.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def is_well_formed(secret: str) -> bool:
    return _SECRET.fullmatch(secret) is not None and checksum(secret[:-CHECKSUM_LENGTH]) == secret[-CHECKSUM_LENGTH:]


def candidate_digests(secret: str) -> tuple[bytes, ...]:
    """Every digest under which a key with this secret may be stored, the newest pepper's first.

    Raises KeyMalformed, before anything is computed. Asks no database.
    """
    if not is_well_formed(secret):
        raise KeyMalformed()
    return tuple(digest for _, digest in reversed(_chain(secret.encode(), _peppers())))


class RememberedDigests:
    """`candidate_digests` for a process that is shown the same secrets again and again.

    It knows them by a hash under a key that it tells nobody, so nothing is kept that would open or name anything.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[bytes, ...]] = {}

    def __call__(self, secret: bytes) -> tuple[bytes, ...]:
        """Raises KeyMalformed."""
        if len(secret) != SECRET_LENGTH:
            raise KeyMalformed()
        fingerprint = blake2b(secret, key=self._key, digest_size=32).digest()
        digests = self._known.get(fingerprint)
        if digests is None:
            digests = candidate_digests(secret.decode("latin-1"))
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[fingerprint] = digests
        return digests


def _peppers() -> list[tuple[str, bytes]]:
    """Id and bytes, from the oldest to the newest."""
    return list(reversed(settings.KEY_PEPPERS.items()))


def _chain(value: bytes, peppers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Id of each pepper and the digest after it."""
    links = []
    for pepper_id, pepper in peppers:
        value = hmac.digest(pepper, value, "sha256")
        links.append((pepper_id, value))
    return links


def wrapped(digest: bytes | memoryview, pepper_id: str) -> bytes:
    """The digest under the newest pepper of what was stored under an older one. Raises ValueError for an unknown id."""
    peppers = _peppers()
    newer = peppers[[known for known, _ in peppers].index(pepper_id) + 1 :]
    return _chain(bytes(digest), newer)[-1][1] if newer else bytes(digest)


def stored(secret: str) -> dict[str, Any]:
    """The columns that stand for a secret."""
    pepper_id, digest = _chain(secret.encode(), _peppers())[-1]
    shown = len("agr_live_") + SHOWN_OF_RANDOM
    return {"digest": digest, "pepper_id": pepper_id, "prefix": secret[:shown], "last_four": secret[-4:]}


def count_unwrapped() -> int:
    """How many keys are stored under an older pepper."""
    return APIKey.objects.exclude(pepper_id=_peppers()[-1][0]).count()


def wrap_digests() -> int:
    """Bring every stored digest under the newest pepper. Returns how many rows changed; repeating it is harmless."""
    newest = _peppers()[-1][0]
    changed = 0
    while True:
        with transaction.atomic():
            batch = list(
                APIKey.objects.exclude(pepper_id=newest).order_by("id").select_for_update(skip_locked=True)[:WRAP_BATCH]
            )
            for key in batch:
                if key.previous_digest is not None:
                    key.previous_digest = wrapped(key.previous_digest, key.pepper_id)
                key.digest, key.pepper_id = wrapped(key.digest, key.pepper_id), newest
            APIKey.objects.bulk_update(batch, ["digest", "previous_digest", "pepper_id"])
        changed += len(batch)
        if len(batch) < WRAP_BATCH:
            return changed
