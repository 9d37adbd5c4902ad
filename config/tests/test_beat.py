"""Any number of clocks may run; one ticks."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from config.beat import OneScheduler
from config.celery import app
from config.schedule import JOBS


class Clock(OneScheduler):
    """Writes down what it sends instead of sending it."""

    def apply_async(self, entry, producer=None, advance=True, **kwargs):
        self.sent.append(entry.task)
        if advance:
            self.reserve(entry)

    def run_due(self) -> list[str]:
        self.sent: list[str] = []
        for _ in range(2 * len(JOBS)):
            self.tick()
        return sorted(self.sent)


@pytest.fixture
def clocks(django_db_setup: None) -> Iterator[tuple[Clock, Clock]]:
    first, second = Clock(app, max_interval=1), Clock(app, max_interval=1)
    yield first, second
    first.close()
    second.close()


def test_the_first_clock_runs_every_sweep_and_the_second_waits(clocks: tuple[Clock, Clock]):
    first, second = clocks
    assert first.run_due() == sorted(job.task for job in JOBS)
    assert first.run_due() == []  # nothing is due again so soon
    assert second.run_due() == []


def test_when_the_first_clock_ends_the_second_takes_over_at_once(clocks: tuple[Clock, Clock]):
    first, second = clocks
    first.run_due()
    second.run_due()
    first.close()
    assert second.run_due() == sorted(job.task for job in JOBS)


def test_a_clock_that_lost_its_database_no_longer_ticks(clocks: tuple[Clock, Clock], settings_url: str):
    first, second = clocks
    first.run_due()
    assert first._lock is not None
    first._lock.close()
    settings.DATABASE_URL = "postgresql://nobody@/nowhere?host=/nonexistent"
    assert first.run_due() == []
    settings.DATABASE_URL = settings_url
    assert second.run_due() == sorted(job.task for job in JOBS)


@pytest.fixture
def settings_url() -> Iterator[str]:
    url = settings.DATABASE_URL
    yield url
    settings.DATABASE_URL = url
