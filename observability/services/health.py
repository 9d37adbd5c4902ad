"""What the health endpoints answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import redis
import structlog
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

logger = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that requests need. `ms`: how long it took to ask."""

    name: str
    is_ok: bool
    ms: float


def check_readiness() -> list[Check]:
    """Ask the database, Redis (cache, limits and broker) and whether every migration has been applied."""
    return [
        _measure("database", ask_database),
        _measure("redis", ask_redis),
        _measure("migrations", ask_migrations),
    ]


def _measure(name: str, ask: Callable[[], bool]) -> Check:
    start = time.perf_counter()
    try:
        is_ok = ask()
    except Exception as error:  # whatever it is, the answer is "not ready", and the reason belongs in the log
        logger.warning("not_ready", check=name, error=f"{type(error).__name__}: {error}")
        is_ok = False
    return Check(name, is_ok, round((time.perf_counter() - start) * 1000, 1))


def ask_database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )


def ask_redis() -> bool:
    return bool(_redis().ping())


_migrated = False  # stays true: a running process does not lose migrations


def ask_migrations() -> bool:
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _migrated
