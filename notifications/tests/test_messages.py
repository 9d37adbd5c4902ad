"""The outbox: written with the caller's transaction, sent once, tried again, given up."""

import os
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import translation

from common.clock import now
from notifications.models import Message
from notifications.services import messages as services
from notifications.tests.factories import make_message


def in_hours(hours: float) -> None:
    """Let this connection see a later time, until it is closed or told otherwise."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [f"{hours} hours"])


@pytest.fixture
def later(db: None):
    yield in_hours
    in_hours(0)


@pytest.mark.django_db
class TestNotify:
    def test_what_is_rolled_back_is_not_sent(self):
        with transaction.atomic():
            services.notify(to="anna@example.org", kind="notifications.test", payload={})
            transaction.set_rollback(True)
        assert services.deliver() == 0
        assert mail.outbox == []

    def test_a_payload_is_sealed_and_erased(self, write_words: Callable[..., None]):
        write_words("tests.code", text="{{ code }}")
        message = services.notify(to="anna@example.org", kind="tests.code", payload={"code": "K7RT2M"})
        message.refresh_from_db()
        assert b"K7RT2M" not in bytes(message.payload or b"")
        assert services.deliver() == 1
        message.refresh_from_db()
        assert message.payload is None
        assert message.state == "sent"
        assert message.sent_at is not None
        assert mail.outbox[0].body == "K7RT2M\n"

    def test_a_payload_opens_for_its_own_row_only(self, write_words: Callable[..., None]):
        write_words("tests.code", text="{{ code }}")
        mine = services.notify(to="mallory@example.org", kind="tests.code", payload={"code": "A"})
        hers = services.notify(to="anna@example.org", kind="tests.code", payload={"code": "K7RT2M"})
        Message.objects.filter(pk=mine.pk).update(payload=hers.payload)
        services.deliver()
        assert [message.to for message in mail.outbox] == [["anna@example.org"]]
        mine.refresh_from_db()
        assert (mine.state, mine.last_error) == ("pending", "SealError")

    def test_a_dedupe_key_says_it_once(self):
        first, second = (
            services.notify(to="anna@example.org", kind="notifications.test", payload={}, dedupe_key="quota 2026-01")
            for _ in range(2)
        )
        assert first == second
        assert services.deliver() == 1
        assert (
            services.notify(
                to="anna@example.org", kind="notifications.test", payload={}, dedupe_key="quota 2026-01"
            ).state
            == "sent"
        )
        assert services.deliver() == 0

    @pytest.mark.parametrize("kind", ["", "test", "notifications.no_such_words", "../x.y", "notifications.../test"])
    def test_a_kind_needs_words(self, kind: str):
        with pytest.raises(LookupError):
            services.notify(to="anna@example.org", kind=kind, payload={})
        assert not Message.objects.exists()

    def test_a_message_keeps_the_language_it_was_written_in(self, write_words: Callable[..., None]):
        write_words("tests.yes", text="{% load i18n %}{% translate 'Yes' %}")
        with translation.override("de"):
            services.notify(to="anna@example.org", kind="tests.yes", payload={})
        services.deliver()
        assert mail.outbox[0].body == "Ja\n"


@pytest.mark.django_db
class TestDeliver:
    def test_what_fails_is_tried_again_later_and_then_given_up(
        self, settings, later: Callable[[float], None], tmp_path
    ):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # nobody listens there
        message = make_message()
        elapsed = 0.0
        for attempt, pause in enumerate(services.PAUSES, start=1):
            assert services.deliver() == 0
            message.refresh_from_db()
            assert (message.state, message.attempts) == ("pending", attempt)
            assert "ConnectionRefusedError" in message.last_error
            assert message.next_attempt_at is not None
            assert message.next_attempt_at - now() == pytest.approx(pause, abs=timedelta(seconds=5))
            assert services.deliver() == 0  # not due
            message.refresh_from_db()
            assert message.attempts == attempt
            elapsed += pause / timedelta(hours=1) + 0.01
            later(elapsed)
        assert services.deliver() == 0
        message.refresh_from_db()
        assert (message.state, message.attempts, message.next_attempt_at) == ("dead", services.MAX_ATTEMPTS, None)
        assert message.payload is not None  # it may be sent again

    def test_the_dead_can_be_sent_again(self):
        dead = make_message(state="dead", attempts=8, next_attempt_at=None, last_error="gone")
        pending = make_message(attempts=3)
        assert services.send_again(messages=Message.objects.all()) == 1
        pending.refresh_from_db()
        assert pending.attempts == 3
        assert services.deliver() == 2
        dead.refresh_from_db()
        assert (dead.state, dead.attempts, dead.last_error) == ("sent", 1, "")

    def test_broken_words_hold_up_nobody(self, write_words: Callable[..., None], caplog: pytest.LogCaptureFixture):
        write_words("tests.broken", text="{{ code|add:1|yesno:0 }}{% include nothing %}")
        broken = make_message(kind="tests.broken", payload={"code": "K7RT2M"})
        make_message()
        assert services.deliver() == 1
        broken.refresh_from_db()
        assert broken.state == "pending"
        assert broken.last_error
        assert "K7RT2M" not in broken.last_error + caplog.text

    def test_a_lease_keeps_others_away_until_it_ends(self, later: Callable[[float], None]):
        message = make_message()
        assert services._claim() == message  # and the worker dies
        assert services.deliver() == 0
        later(services.LEASE / timedelta(hours=1) + 0.01)
        assert services.deliver() == 1
        message.refresh_from_db()
        assert message.attempts == 2

    def test_who_kills_every_worker_is_given_up(self, later: Callable[[float], None]):
        message = make_message(attempts=services.MAX_ATTEMPTS)
        assert services.deliver() == 0
        message.refresh_from_db()
        assert message.state == "dead"
        assert mail.outbox == []

    def test_a_late_failure_does_not_touch_what_another_worker_has(self):
        message = make_message()
        first = services._claim()
        assert first is not None
        Message.objects.filter(pk=message.pk).update(attempts=2)  # the lease ended, another worker claimed it
        services._mark_failed(first, "timed out", is_last=True)
        message.refresh_from_db()
        assert (message.state, message.attempts, message.last_error) == ("pending", 2, "")

    def test_the_limit(self):
        for _ in range(3):
            make_message()
        assert services.deliver(limit=2) == 2
        assert services.deliver(limit=2) == 1

    def test_the_longest_waiting_is_first(self):
        for name in ("a", "b", "c"):
            make_message(to_address=f"{name}@example.org")
        services.deliver()
        assert [message.to for message in mail.outbox] == [["a@example.org"], ["b@example.org"], ["c@example.org"]]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_inside_a_transaction():
    make_message()
    with transaction.atomic(), pytest.raises(RuntimeError):
        services.deliver()
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_workers_side_by_side_send_each_message_once(settings, tmp_path):
    settings.EMAIL_BACKEND = "notifications.adapters.filemail.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    addresses = {f"a{number}@example.org" for number in range(60)}
    for address in addresses:
        make_message(to_address=address)
    counts: list[int] = []

    def work() -> None:
        try:
            counts.append(services.deliver())
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(addresses)
    assert sum(count > 0 for count in counts) > 1
    assert set(Message.objects.values_list("state", "attempts")) == {("sent", 1)}
    assert len(list(tmp_path.glob("*.eml"))) == len(addresses)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_at_any_moment_loses_nothing(settings, tmp_path):
    settings.EMAIL_BACKEND = "notifications.adapters.filemail.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    for number in range(400):
        make_message(to_address=f"a{number}@example.org")
    program = "import django; django.setup(); from notifications import services; services.deliver(limit=400)"
    environment = {
        **os.environ,
        "EMAIL_URL": f"filemail://{tmp_path}/mail",
        "KEY_ENCRYPTION_KEYS": ",".join(
            f"{id}:{urlsafe_b64encode(key).decode().rstrip('=')}" for id, key in settings.KEY_ENCRYPTION_KEYS.items()
        ),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    for kills in range(1, 4):
        with subprocess.Popen([sys.executable, "-c", program], cwd=settings.BASE_DIR, env=environment) as worker:
            deadline = time.monotonic() + 120
            while len(list(tmp_path.glob("mail/*.eml"))) < 60 * kills:
                assert worker.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)  # who only looks takes the processor from who works
            worker.kill()
    unfinished = Message.objects.pending()
    assert unfinished.exists()
    in_hours(1)  # all leases have ended
    services.deliver(limit=400)
    assert not unfinished.exists()
    assert len(list(tmp_path.glob("mail/*.eml"))) == 400
