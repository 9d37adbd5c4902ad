"""Mail into a folder: for an instance that has no mail server yet. `EMAIL_URL=filemail:///path` selects it."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parseaddr
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from common.ids import decode, uuid7


class EmailBackend(BaseEmailBackend):
    """One file for each message in `settings.EMAIL_FILE_PATH`, whole or not there; names sort by the time of writing.

    The same message written twice (the process died before it could say so) is one file. Bodies are not wrapped, so a
    code stays alone on its line.
    """

    def __init__(self, fail_silently: bool = False, *, file_path: str | None = None, **kwargs: object) -> None:
        super().__init__(fail_silently=fail_silently)
        folder = file_path or getattr(settings, "EMAIL_FILE_PATH", None)
        if not folder:
            raise ImproperlyConfigured("EMAIL_FILE_PATH names no folder for mail.")
        self._folder = Path(folder)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        written = 0
        for message in email_messages:
            if message.recipients():
                try:
                    self._write(message)
                    written += 1
                except OSError:
                    if not self.fail_silently:
                        raise
        return written

    def _write(self, message: EmailMessage) -> None:
        mime = message.message()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / file_name(str(mime["Message-ID"]))
        try:
            _write_whole(path, mime.as_bytes(), draft_folder=self._folder.parent)  # so that no reader ever sees a draft
        except OSError:  # not ours to write, or another file system
            _write_whole(path, mime.as_bytes(), draft_folder=self._folder)


def _write_whole(path: Path, content: bytes, *, draft_folder: Path) -> None:
    draft = draft_folder / f".{path.name}.{os.getpid()}.part"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def file_name(message_id: str) -> str:
    """`20260131T235959.123Z-01890a5dac96774bbcceb302099a8057.eml`: when the message was made, and which it is."""
    id = _id_of(message_id)
    moment = datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z-{id.hex}.eml"


def _id_of(message_id: str) -> UUID:
    """Of the outbox's row, if the message came from there."""
    try:
        return decode("msg", parseaddr(message_id)[1].partition("@")[0])
    except ValueError:
        return uuid7()
