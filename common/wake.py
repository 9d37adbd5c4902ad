"""Ask a worker to run a sweep now instead of at its next tick."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0  # after a failure nothing is sent for a while: the clock runs the sweeps anyway

_quiet_until = 0.0


def wake(sweep: Callable[..., Any]) -> None:
    """After commit, nudge the task named `<app>.<sweep>`. Best effort: the row is the work."""
    app = sweep.__module__.partition(".")[0]
    transaction.on_commit(partial(_send, f"{app}.{sweep.__name__}"), robust=True)


def _send(name: str) -> None:
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        current_app.send_task(name, retry=False, ignore_result=True)
    except Exception as error:  # whatever a broker can raise, the transaction has been committed
        _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("Could not wake %s: %s", name, type(error).__name__)
