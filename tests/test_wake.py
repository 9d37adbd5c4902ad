"""A wake-up reaches the broker after the commit, and a broker that is away costs nobody anything."""

import queue
import time

import pytest
from celery import Celery, current_app
from django.db import transaction

from common.wake import _sender, wake
from notifications.services import deliver


@pytest.fixture(autouse=True)
def messages():
    """The queue that the workers read, empty at first."""
    with current_app.connection_for_read() as connection, connection.SimpleQueue("agorai") as messages:
        messages.clear()
        yield messages


@pytest.mark.django_db
def test_a_sweep_is_woken_after_the_commit(messages, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        wake(deliver)
    assert len(callbacks) == 1
    message = messages.get(timeout=10)
    message.ack()
    assert message.headers["task"] == "notifications.deliver"


@pytest.mark.django_db(transaction=True)
def test_nothing_is_woken_by_what_was_rolled_back(messages):
    with transaction.atomic():
        wake(deliver)
        transaction.set_rollback(True)
    with pytest.raises(queue.Empty):
        messages.get(timeout=0.5)


@pytest.mark.django_db
def test_a_broker_that_is_away_costs_nothing(django_capture_on_commit_callbacks, monkeypatch, caplog):
    away = Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False)
    away.conf.broker_connection_timeout = 0.5
    monkeypatch.setattr("celery._state.default_app", away)
    _sender.cache_clear()
    started = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(100):
            wake(deliver)
    assert time.monotonic() - started < 0.5
    while "broker does not answer" not in caplog.text:
        assert time.monotonic() - started < 20
        time.sleep(0.05)
    _sender.cache_clear()  # its thread keeps quiet for a while; the next test has another
