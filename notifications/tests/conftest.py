"""A real SMTP server, and words of a kind that tests may choose."""

import asyncio
import email
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from django.conf import LazySettings

PASSWORD = b"correct"


@dataclass
class Mailbox:
    """What the server took, and how it answers: `answers` maps a recipient to a line of SMTP."""

    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    sessions: set[int] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    is_dropping: bool = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.is_dropping:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        self.sessions.add(id(session))
        self.recipients.append(list(envelope.rcpt_tos))
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append(message)
        return "250 OK"


class LocalController(Controller):
    """Takes a free port, where aiosmtpd would connect to port 0 to see whether it listens."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def mailbox(settings: LazySettings) -> Iterator[Mailbox]:
    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=isinstance(data, LoginPassword) and data.password == PASSWORD, handled=False)

    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's, which tells of every line
    mailbox = Mailbox()
    controller = LocalController(
        mailbox, hostname="127.0.0.1", port=0, authenticator=authenticate, auth_require_tls=False
    )
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", controller.port
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "agorai", PASSWORD.decode()
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_TIMEOUT = 5
    yield mailbox
    controller.stop()


@pytest.fixture
def write_words(tmp_path: Path, settings: LazySettings) -> Callable[..., None]:
    """`write_words("tests.code", text="{{ code }}")` writes the templates of a kind for one test."""
    (templates,) = settings.TEMPLATES
    settings.TEMPLATES = [{**templates, "DIRS": [tmp_path / "templates", *templates["DIRS"]]}]

    def write(kind: str, *, subject: str = "Hello", text: str = "Hello", html: str | None = None) -> None:
        app, _, name = kind.partition(".")
        folder = tmp_path / "templates" / app / "emails"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.subject.txt").write_text(subject)
        (folder / f"{name}.txt").write_text(text)
        if html is not None:
            (folder / f"{name}.html").write_text(html)

    return write
