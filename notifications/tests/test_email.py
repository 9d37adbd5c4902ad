"""E-mail through a real SMTP server."""

from collections.abc import Callable
from email.message import EmailMessage

import pytest

from notifications import services
from notifications.models import Message
from notifications.tests.conftest import Mailbox
from notifications.tests.factories import make_message

pytestmark = pytest.mark.django_db


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_a_message_as_it_arrives(mailbox: Mailbox, settings):
    settings.SITE_NAME, settings.SITE_URL = "Bazar d’Anna", "https://bazar.example"
    settings.DEFAULT_FROM_EMAIL = "Bazar <no-reply@bazar.example>"
    message = make_message()
    assert services.deliver() == 1
    (mail,) = mailbox.received
    assert mail["Subject"] == "Mail from Bazar d’Anna works"
    assert mail["From"] == "Bazar <no-reply@bazar.example>"
    assert mail["To"] == "anna@example.org"
    assert mail["Message-ID"] == f"<{message.public_id}@bazar.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    text, html = part(mail, "plain"), part(mail, "html")
    assert text.splitlines()[0] == "This is a test. Bazar d’Anna can send mail to this address."
    assert "https://bazar.example" in text
    assert '<html lang="en" dir="ltr">' in html
    assert "<h1" in html
    assert 'href="https://bazar.example"' in html


def test_text_is_not_escaped_but_html_is(mailbox: Mailbox, write_words: Callable[..., None]):
    write_words("tests.name", subject="Hi {{ name }}", text="Hi {{ name }}", html="<p>Hi {{ name }}</p>")
    make_message(kind="tests.name", payload={"name": "<b>O'Neil & Co</b>"})
    services.deliver()
    (mail,) = mailbox.received
    assert mail["Subject"] == "Hi <b>O'Neil & Co</b>"
    assert part(mail, "plain").strip() == "Hi <b>O'Neil & Co</b>"
    assert "<p>Hi &lt;b&gt;O&#x27;Neil &amp; Co&lt;/b&gt;</p>" in part(mail, "html")


@pytest.mark.parametrize("name", ["x\r\nBcc: mallory@example.org", "x\nBcc: mallory@example.org", "x\r\n\r\nbody"])
def test_a_subject_cannot_bring_headers(mailbox: Mailbox, write_words: Callable[..., None], name: str):
    write_words("tests.name", subject="Hi {{ name }}")
    make_message(kind="tests.name", payload={"name": name})
    assert services.deliver() == 1
    (mail,) = mailbox.received
    assert mail["Bcc"] is None
    assert mail["Subject"] == " ".join(f"Hi {name}".split())
    assert mailbox.recipients == [["anna@example.org"]]


def test_a_kind_without_html_is_text_alone(mailbox: Mailbox, write_words: Callable[..., None]):
    write_words("tests.plain", text="Only text")
    make_message(kind="tests.plain")
    services.deliver()
    assert mailbox.received[0].get_content_type() == "text/plain"


def test_the_site_is_not_the_payload_s_to_name(mailbox: Mailbox, write_words: Callable[..., None], settings):
    write_words("tests.site", text="{{ site_url }} {{ to }}")
    make_message(kind="tests.site", payload={"site_url": "https://evil.example", "to": "b@example.org"})
    services.deliver()
    assert mailbox.received[0].get_content().strip() == f"{settings.SITE_URL} anna@example.org"


def test_one_connection_for_all(mailbox: Mailbox):
    for _ in range(5):
        make_message()
    assert services.deliver() == 5
    assert len(mailbox.sessions) == 1


def test_a_refused_recipient_is_given_up_and_the_others_are_served(mailbox: Mailbox):
    mailbox.answers["gone@example.org"] = "550 5.1.1 no such user"
    gone = make_message(to_address="gone@example.org")
    make_message()
    assert services.deliver() == 1
    gone.refresh_from_db()
    assert (gone.state, gone.attempts, gone.last_error) == ("dead", 1, "550 5.1.1 no such user")
    assert mailbox.recipients == [["anna@example.org"]]
    assert len(mailbox.sessions) == 1


def test_a_recipient_put_off_is_tried_again(mailbox: Mailbox):
    mailbox.answers["busy@example.org"] = "451 4.7.1 greylisted"
    busy = make_message(to_address="busy@example.org")
    assert services.deliver() == 0
    busy.refresh_from_db()
    assert (busy.state, busy.last_error) == ("pending", "451 4.7.1 greylisted")
    mailbox.answers.clear()
    Message.objects.update(next_attempt_at=busy.created_at)
    assert services.deliver() == 1


def test_a_broken_connection_costs_one_attempt(mailbox: Mailbox):
    mailbox.is_dropping = True
    message = make_message()
    assert services.deliver() == 0
    message.refresh_from_db()
    assert message.state == "pending"
    assert message.last_error.startswith("SMTPServerDisconnected")
    mailbox.is_dropping = False
    Message.objects.update(next_attempt_at=message.created_at)
    assert services.deliver() == 1


def test_wrong_credentials_are_no_reason_to_give_up(mailbox: Mailbox, settings):
    settings.EMAIL_HOST_PASSWORD = "wrong"
    message = make_message()
    assert services.deliver() == 0
    message.refresh_from_db()
    assert message.state == "pending"
    assert message.last_error.startswith("535")
    assert "wrong" not in message.last_error


def test_a_message_sent_twice_can_be_told_by_its_id(mailbox: Mailbox):
    message = make_message()
    payload = message.payload
    assert services.deliver() == 1
    Message.objects.update(  # as if the worker had died before it could say so
        state="pending", payload=payload, sent_at=None, next_attempt_at=message.created_at
    )
    assert services.deliver() == 1
    first, second = mailbox.received
    assert first["Message-ID"] == second["Message-ID"]
