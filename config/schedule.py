"""Every periodic job on one screen: its task, its period, and why it runs that often."""

from datetime import timedelta
from typing import NamedTuple


class Job(NamedTuple):
    task: str
    every: timedelta
    why: str


JOBS: tuple[Job, ...] = ()

SCHEDULE = {job.task: {"task": job.task, "schedule": job.every, "options": {"expires": job.every}} for job in JOBS}
