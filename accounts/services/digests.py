"""Keyed hashes of what must be recognized and never read back: codes, tokens, addresses of clients."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings


def digest(kind: str, *parts: str) -> bytes:
    """The hash under the current pepper (the first of `KEY_PEPPERS`), 32 bytes. No part may hold a NUL."""
    return _digest(next(iter(settings.KEY_PEPPERS.values())), kind, parts)


def all_digests(kind: str, *parts: str) -> list[bytes]:
    """The hash under every configured pepper, so that what was stored before a rotation is still found."""
    return [_digest(pepper, kind, parts) for pepper in settings.KEY_PEPPERS.values()]


def fingerprint(*, address: str, user_agent: str) -> str:
    """Which client this is, as 64 hexadecimal digits that tell nobody the address."""
    return digest("client", address, user_agent.replace("\0", "")).hex()


def _digest(pepper: bytes, kind: str, parts: tuple[str, ...]) -> bytes:
    message = "\0".join((f"accounts.{kind}", *parts))
    return hmac.digest(pepper, message.encode("utf-8", "surrogatepass"), hashlib.sha256)
