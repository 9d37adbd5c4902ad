"""E-mail: renders the words of a kind and hands them to Django's mail backend.

The kind `accounts.verify_email` is written in `templates/accounts/emails/verify_email.subject.txt`, `.txt` and, if it
has one, `.html`. They see the payload's fields, `site_name`, `site_url`, `support_email` and `to`. A payload with an
`unsubscribe_url` is of a message that people may refuse; programs that offer a button for that find it in the headers.
"""

import contextlib
import smtplib
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.template import Context, Engine, Template, TemplateDoesNotExist
from django.utils import translation

from common.ids import encode
from notifications.adapters import DeliveryError, Envelope

SUBJECT, TEXT, HTML = ".subject.txt", ".txt", ".html"
PERMANENT_CODES = range(500, 600)  # of SMTP: the same message will be refused again


class EmailAdapter:
    """Keeps one connection open from the first message to `close`."""

    def __init__(self) -> None:
        self._connection: BaseEmailBackend | None = None

    def check(self, kind: str) -> None:
        for suffix in (SUBJECT, TEXT):
            try:
                _template(kind, suffix)
            except TemplateDoesNotExist as error:
                raise LookupError(f"no template {error}") from None

    def send(self, envelope: Envelope) -> None:
        message = render(envelope)
        try:
            message.connection = self._open()
            message.send()
        except smtplib.SMTPRecipientsRefused as error:
            code, reason = next(iter(error.recipients.values()))
            raise _failure(code, reason) from error  # the connection stays: only this recipient is refused
        except smtplib.SMTPResponseException as error:
            self._forget()
            # Refused credentials are the operator's fault and can be put right; the message can wait.
            permanent = not isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPConnectError)
            raise _failure(error.smtp_code, error.smtp_error, may_be_permanent=permanent) from error
        except (smtplib.SMTPException, OSError) as error:
            self._forget()
            raise DeliveryError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> BaseEmailBackend:
        if self._connection is None:
            self._connection = mail.get_connection()
            self._connection.open()
        return self._connection

    def _forget(self) -> None:
        """After an error nobody knows the state of the connection: the next message opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):  # it was broken already
                connection.close()


def render(envelope: Envelope) -> mail.EmailMultiAlternatives:
    """The message with its text part and, where the kind has one, its HTML part."""
    context = dict(envelope.payload) | {
        "site_name": settings.SITE_NAME,
        "site_url": settings.SITE_URL,
        "support_email": settings.SUPPORT_EMAIL,
        "to": envelope.to,
    }
    with translation.override(envelope.language):
        subject = " ".join(_render_text(envelope.kind, SUBJECT, context).split())
        text = _render_text(envelope.kind, TEXT, context).strip() + "\n"
        html = _render_html(envelope.kind, context | {"subject": subject})
    message = mail.EmailMultiAlternatives(
        subject=subject,
        body=text,
        to=[envelope.to],
        headers={
            "Message-ID": message_id(envelope),  # the same at every attempt, so that a repeated one can be told
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
            **_unsubscribe_headers(envelope),
        },
    )
    if html is not None:
        message.attach_alternative(html, "text/html")
    return message


def _unsubscribe_headers(envelope: Envelope) -> dict[str, str]:
    """RFC 8058: one click, without opening a page."""
    url = envelope.payload.get("unsubscribe_url")
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"} if url else {}


def message_id(envelope: Envelope) -> str:
    sender_domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    return f"<{encode('msg', envelope.id)}@{sender_domain}>"


def kinds() -> list[str]:
    """Every kind that has words, in the order of the alphabet."""
    found: set[str] = set()
    for directory in Engine.get_default().dirs:
        for file in Path(directory).glob(f"*/emails/*{SUBJECT}"):
            found.add(f"{file.parts[-3]}.{file.name.removesuffix(SUBJECT)}")
    return sorted(found)


def _template(kind: str, suffix: str) -> Template:
    app, _, name = kind.partition(".")
    return Engine.get_default().get_template(f"{app}/emails/{name}{suffix}")


def _render_text(kind: str, suffix: str, context: dict[str, Any]) -> str:
    """Without HTML escapes, whatever the template says: an apostrophe is an apostrophe."""
    return _template(kind, suffix).render(Context(context, autoescape=False))


def _render_html(kind: str, context: dict[str, Any]) -> str | None:
    try:
        template = _template(kind, HTML)
    except TemplateDoesNotExist:
        return None
    return template.render(Context(context))


def _failure(code: int, reason: bytes | str, *, may_be_permanent: bool = True) -> DeliveryError:
    words = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    return DeliveryError(f"{code} {words}", permanent=may_be_permanent and code in PERMANENT_CODES)
