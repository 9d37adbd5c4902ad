"""The operator's test mail."""

import pytest
from django.conf import LazySettings
from django.core import mail
from django.core.management import CommandError, call_command

from notifications.models import Message

pytestmark = pytest.mark.django_db


def test_it_goes_the_whole_way(capsys: pytest.CaptureFixture[str]):
    call_command("send_test_mail", "anna@example.org")
    message = Message.objects.get()
    assert message.state == "sent"
    assert capsys.readouterr().out == f"{message.public_id} was handed over for anna@example.org.\n"
    assert mail.outbox[0].to == ["anna@example.org"]


def test_it_says_why_not(settings: LazySettings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    with pytest.raises(CommandError, match="was not sent: ConnectionRefusedError"):
        call_command("send_test_mail", "anna@example.org")


def test_it_wants_an_address():
    with pytest.raises(CommandError, match="anna is not an e-mail address"):
        call_command("send_test_mail", "anna")
    assert not Message.objects.exists()
