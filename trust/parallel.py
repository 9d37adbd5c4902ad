"""Work that is shared out among forks of this process, one for each core. To be imported in `run`."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from django.db import connections

from trust.harness import Context, Red

WORKERS = min(4, os.cpu_count() or 1)


def share(context: Context, tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task once, in some fork, with a connection of its own to the database. What they count and find is the
    context's afterwards. Raises RuntimeError when a fork ended without a word, Red where the first finding is enough.
    """
    connections.close_all()
    sys.stdout.flush()
    fork = multiprocessing.get_context("fork")
    following = fork.Value("i", 0)
    workers = []
    for _ in range(WORKERS):
        receiver, sender = fork.Pipe(duplex=False)
        worker = fork.Process(target=_work, args=(context, tasks, following, sender))
        worker.start()
        sender.close()
        workers.append((worker, receiver))
    for worker, receiver in workers:
        try:
            made, violations = receiver.recv()
        except EOFError:
            raise RuntimeError("A part of the work ended without a word; see above.") from None
        finally:
            worker.join()
        context.count(made)
        context.violations += violations
    if context.until_red and context.violations:
        raise Red(context.violations[0])


def _work(context: Context, tasks: Sequence[Callable[[], None]], following: Any, sender: Connection) -> None:
    context.made, context.violations = 0, []
    try:
        while (number := _next(following)) < len(tasks):
            tasks[number]()
    except Red:
        following.value = len(tasks)  # enough for the others as well
    connections.close_all()
    sender.send((context.made, context.violations))
    sender.close()


def _next(following: Any) -> int:
    with following.get_lock():
        number: int = following.value
        following.value += 1
        return number
