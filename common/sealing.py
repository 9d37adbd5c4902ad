"""Secrets that must be read back: AES-256-GCM, a data key per value, wrapped by a key-encryption key (KEK).

A sealed value is bound to its context (table, row, field, …): copied elsewhere it does not open. The database never
sees a KEK.

Layout: version 1 | length of the KEK id | KEK id | nonce | wrapped data key | nonce | ciphertext with tag.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db.models import QuerySet

_VERSION = 1
_NONCE_BYTES = 12
_KEY_BYTES = 32
_WRAPPED_BYTES = _KEY_BYTES + 16


class SealError(Exception):
    """The value does not open: damaged, of another context, or its KEK is not configured."""


def seal(plaintext: bytes, context: str) -> bytes:
    """Encrypt under a fresh data key, wrapped by the current KEK (the first of `KEY_ENCRYPTION_KEYS`)."""
    keys = _keys()
    if not keys:
        raise SealError("KEY_ENCRYPTION_KEYS is empty")
    kek_id = next(iter(keys))
    name = kek_id.encode()
    header = bytes([_VERSION, len(name)]) + name
    data_key, wrap_nonce, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES), os.urandom(_NONCE_BYTES)
    wrapped = AESGCM(keys[kek_id]).encrypt(wrap_nonce, data_key, _bound(b"key", header, context))
    return (
        header
        + wrap_nonce
        + wrapped
        + nonce
        + AESGCM(data_key).encrypt(nonce, plaintext, _bound(b"value", header, context))
    )


def open_sealed(blob: bytes, context: str) -> bytes:
    """The plaintext sealed under the same context. Raises SealError."""
    header, wrap_nonce, wrapped, nonce, ciphertext = _parse(bytes(blob))
    key = _keys().get(header[2:].decode())
    if key is None:
        raise SealError("the key-encryption key of this value is not configured")
    try:
        data_key = AESGCM(key).decrypt(wrap_nonce, wrapped, _bound(b"key", header, context))
        return AESGCM(data_key).decrypt(nonce, ciphertext, _bound(b"value", header, context))
    except InvalidTag:
        raise SealError("damaged, or sealed for another place") from None


def kek_id(blob: bytes) -> str:
    """Which KEK wraps this value; whoever rotates looks for values not under the current one. Raises SealError."""
    return _parse(bytes(blob))[0][2:].decode()


def reseal(blob: bytes, context: str) -> bytes | None:
    """The same secret under the current KEK; None when it is under that already. Raises SealError."""
    if kek_id(blob) == next(iter(_keys())):
        return None
    return seal(open_sealed(blob, context), context)


def count_retired(rows: QuerySet[Any], column: str, *, chunk_size: int = 2000) -> int:
    """How many sealed values of a column are not under the current KEK. Raises SealError for what is no such value.

    chunk_size: how many are in memory at a time.
    """
    current = next(iter(_keys()))
    sealed = rows.exclude(**{column: None}).order_by("pk").values_list(column, flat=True)
    return sum(kek_id(value) != current for value in sealed.iterator(chunk_size=chunk_size))


def reseal_column(rows: QuerySet[Any], column: str, context_of: Callable[[Any], str], *, chunk_size: int = 500) -> int:
    """Bring a column of sealed values under the current KEK. Returns how many changed; repeating it is harmless.

    A row that changes meanwhile is left alone: whoever wrote it knows the current KEK. Raises SealError for a value
    that does not open, and then those before it are done.
    """
    changed = 0
    for row in rows.exclude(**{column: None}).order_by("pk").iterator(chunk_size=chunk_size):
        sealed = bytes(getattr(row, column))
        fresh = reseal(sealed, context_of(row))
        if fresh is not None:
            changed += rows.filter(pk=row.pk, **{column: sealed}).update(**{column: fresh})
    return changed


def _keys() -> Mapping[str, bytes]:
    keys: Mapping[str, bytes] = settings.KEY_ENCRYPTION_KEYS
    return keys


def _bound(part: bytes, header: bytes, context: str) -> bytes:
    return b"agorai-seal\0" + part + b"\0" + header + context.encode()


def _parse(blob: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """header, wrap nonce, wrapped data key, nonce, ciphertext."""
    if len(blob) < 2 or blob[0] != _VERSION:
        raise SealError("not a sealed value")
    start = 2 + blob[1]
    cuts = [
        0,
        start,
        start + _NONCE_BYTES,
        start + _NONCE_BYTES + _WRAPPED_BYTES,
        start + 2 * _NONCE_BYTES + _WRAPPED_BYTES,
    ]
    if len(blob) < cuts[-1] + 16 or not blob[2:start].isascii():
        raise SealError("not a sealed value")
    return (blob[:start], blob[start : cuts[2]], blob[cuts[2] : cuts[3]], blob[cuts[3] : cuts[4]], blob[cuts[4] :])
