"""Every periodic job on one screen: its task, its period, and why it runs that often."""

from datetime import timedelta
from typing import NamedTuple


class Job(NamedTuple):
    task: str
    every: timedelta
    why: str


JOBS: tuple[Job, ...] = (
    Job("notifications.deliver", timedelta(seconds=5), "people wait for codes; a lost wake-up costs seconds"),
    Job("apikeys.flush_last_used", timedelta(minutes=1), "the path of a call only notes that a key was used"),
    Job("gateway.settle_orphans", timedelta(minutes=1), "ends what a process left behind when it died"),
    Job("gateway.create_partitions", timedelta(hours=1), "days ahead: without a partition no call is taken"),
)

SCHEDULE = {
    job.task: {"task": job.task, "schedule": job.every, "options": {"expires": job.every.total_seconds()}}
    for job in JOBS
}
