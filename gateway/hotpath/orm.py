"""The way from the event loop to Django's ORM, for the little that the hot path asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from common.problems import ServiceUnavailable

#: What callers are told to wait when the database does not answer; it is asked again at every call.
AWAY_SECONDS = 5

Result = TypeVar("Result")


def release_connection() -> None:
    """Give this thread's connection back for as long as another machine works; not in the middle of a transaction."""
    if not connection.in_atomic_block:
        connection.close()


async def run_in_django(work: Callable[..., Result], *arguments: object) -> Result:
    """Call `work` on a thread. No request ends there, so the connection is given back here, a broken one too.

    Raises what `work` raises, and ServiceUnavailable when the database does not answer.
    """

    def run() -> Result:
        close_old_connections()
        try:
            return work(*arguments)
        finally:
            close_old_connections()

    try:
        return await asyncio.to_thread(run)
    except (OperationalError, InterfaceError):
        raise ServiceUnavailable("The database does not answer.", retry_after_seconds=AWAY_SECONDS) from None
