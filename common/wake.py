"""Ask a worker to run a sweep now instead of at its next tick."""

import logging
import os
import time
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Any

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0  # after a failure nothing is sent for a while: the clock runs the sweeps anyway


def wake(sweep: Callable[..., Any]) -> None:
    """After commit, nudge the task named `<app>.<sweep>`. Best effort and without waiting: the row is the work."""
    app = sweep.__module__.partition(".")[0]
    name = f"{app}.{sweep.__name__}"
    transaction.on_commit(lambda: _sender(os.getpid()).put(name), robust=True)


@cache
def _sender(pid: int) -> SimpleQueue[str]:
    """The queue of this process and the thread that empties it: a broker that hangs holds up nobody's request."""
    names: SimpleQueue[str] = SimpleQueue()
    Thread(target=_send, args=(names,), name="wake", daemon=True).start()
    return names


def _send(names: SimpleQueue[str]) -> None:
    while True:
        burst = {names.get()}
        while not names.empty():
            burst.add(names.get())
        try:
            for name in burst:
                current_app.send_task(name, retry=False, ignore_result=True)
        except Exception as error:  # whatever a broker can raise
            logger.warning("The broker does not answer (%s); sweeps wait for the clock", type(error).__name__)
            time.sleep(QUIET_SECONDS)
