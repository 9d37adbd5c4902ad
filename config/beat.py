"""The clock. Any number may run; the one that holds a lock in the database ticks, the others wait to take over."""

from datetime import timedelta
from typing import Any

import psycopg
import structlog
from celery.beat import Scheduler
from django.conf import settings

LOCK = 0x41474F52  # any number that nothing else in this database locks
RETRY_SECONDS = 5.0
CONNECT_SECONDS = 5

logger = structlog.get_logger(__name__)


class OneScheduler(Scheduler):
    """Ticks while this process holds the lock. Keeps no file: whoever takes over runs every sweep once, at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock: psycopg.Connection | None = None

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due; returns the seconds until the next tick."""
        if not self._leads():
            return min(RETRY_SECONDS, self.max_interval)
        return float(super().tick(*args, **kwargs))

    def close(self) -> None:
        self._release()
        super().close()

    def _leads(self) -> bool:
        try:
            if self._lock is not None:
                self._lock.execute("SELECT 1")  # a lost connection has lost the lock
                return True
            connection = psycopg.connect(settings.DATABASE_URL, autocommit=True, connect_timeout=CONNECT_SECONDS)
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        except psycopg.Error as error:
            logger.warning("clock_has_no_database", error=str(error))
            self._release()
            return False
        if row is None or not row[0]:
            connection.close()
            return False
        self._lock = connection
        self._make_all_due()
        logger.info("clock_started")
        return True

    def _make_all_due(self) -> None:
        for entry in self.schedule.values():
            entry.last_run_at = self.app.now() - entry.schedule.run_every - timedelta(seconds=1)
        self._heap = None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
