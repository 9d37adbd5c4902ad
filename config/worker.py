"""The embedded run's worker: tasks on two threads and the clock on a third, in one process.

`celery worker --beat` forks its clock, and a fork outlives a worker that is killed; a thread cannot.
"""

import warnings

from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning

from config.celery import app

THREADS = 2


def main() -> int:
    warnings.simplefilter("ignore", SecurityWarning)  # root is feared for pickled messages; ours are JSON
    clock = EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler)
    worker = app.Worker(
        pool="threads",
        concurrency=THREADS,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    clock.start()
    worker.start()  # until SIGTERM; tasks that run are finished first
    clock.stop()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    raise SystemExit(main())
