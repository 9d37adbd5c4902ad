"""Order among transactions that have no row in common yet."""

from __future__ import annotations

import hashlib

from django.db import connection


def lock(kind: str, name: str) -> None:
    """Wait until no other transaction holds this name; held until the end of the present one."""
    number = int.from_bytes(hashlib.sha256(f"accounts.{kind}:{name}".encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
