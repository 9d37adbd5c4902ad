"""Work that is shared out among forks of this process, one for each core. To be imported in `run`."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from django.db import connections

from trust.harness import Context

WORKERS = min(4, os.cpu_count() or 1)


def share(context: Context, tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task once, in some fork, with a connection of its own to the database. What they count and find is the
    context's afterwards. Raises RuntimeError when a fork ended without a word, and Red like everything else.
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
    found: list[str] = []
    for worker, receiver in workers:
        try:
            made, violations = receiver.recv()
        except EOFError:
            raise RuntimeError("A part of the work ended without a word; see above.") from None
        finally:
            worker.join()
        context.count(made)
        found += violations
    for violation in found:
        context.violation(violation)


def _work(context: Context, tasks: Sequence[Callable[[], None]], following: Any, sender: Connection) -> None:
    context.made, context.violations = 0, []
    context.violation = context.violations.append  # type: ignore[method-assign]  # it is told by whoever shared it out
    while (number := _next(following)) < len(tasks):
        tasks[number]()
        if context.until_red and context.violations:
            following.value = len(tasks)
    connections.close_all()
    sender.send((context.made, context.violations))
    sender.close()


def _next(following: Any) -> int:
    with following.get_lock():
        number: int = following.value
        following.value += 1
        return number
