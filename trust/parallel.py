"""Work that is shared out among forks of this process, one for each core."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from django.db import connections

from config.processes import follow_parent
from trust.harness import Context, Red

WORKERS = min(4, os.cpu_count() or 1)
_fork = multiprocessing.get_context("fork")


class Numbers:
    """The numbers below `count`, each of which only one fork gets, in their order."""

    def __init__(self, count: int) -> None:
        self._count, self._following = count, _fork.Value("i", 0)

    def __iter__(self) -> Iterator[int]:
        while (number := self._next()) < self._count:
            yield number

    def _next(self) -> int:
        with self._following.get_lock():
            number: int = self._following.value
            self._following.value += 1
        return number

    def stop(self) -> None:
        """Nobody gets one of those that are left."""
        self._following.value = self._count


def fork_out(count: int, work: Callable[[Numbers], Any], *, workers: int = WORKERS) -> list[Any]:
    """What `work` returned in each fork, which was given its share of the numbers. The forks end with this process, and
    when it is interrupted they tidy up first. Raises RuntimeError when one of them ended without a word.
    """
    sys.stdout.flush()
    numbers, forks = Numbers(count), []
    try:
        for _ in range(workers):
            receiver, sender = _fork.Pipe(duplex=False)
            worker = _fork.Process(target=_work, args=(os.getpid(), work, numbers, sender))
            worker.start()
            sender.close()
            forks.append((worker, receiver))
        found: list[Any] = []
        waiting = [receiver for _worker, receiver in forks]
        while waiting:
            ready = wait(waiting)
            for receiver in [one for one in waiting if one in ready]:
                waiting.remove(receiver)
                try:
                    found.append(receiver.recv())
                except EOFError:
                    raise RuntimeError("A part of the work ended without a word; see above.") from None
    except BaseException:
        for worker, _receiver in forks:
            worker.terminate()
        raise
    finally:
        for worker, _receiver in forks:
            worker.join()
    return found


def _work(parent: int, work: Callable[[Numbers], Any], numbers: Numbers, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them, and the parent tells its forks
    follow_parent(parent, signal.SIGTERM)
    sender.send(work(numbers))
    sender.close()


def share(context: Context, tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task once, in some fork, with a connection of its own to the database. What they count and find is the
    context's afterwards. Raises RuntimeError when a fork ended without a word, Red where the first finding is enough.
    """

    def work(numbers: Numbers) -> tuple[int, list[str]]:
        context.made, context.violations = 0, []
        try:
            for number in numbers:
                tasks[number]()
        except Red:
            numbers.stop()  # enough for the others as well
        connections.close_all()
        return context.made, context.violations

    connections.close_all()
    for made, violations in fork_out(len(tasks), work):
        context.count(made)
        context.violations += violations
    if context.until_red and context.violations:
        raise Red(context.violations[0])
