"""The mail folder of an instance that has no mail server yet, for whoever tries it out. Elsewhere it does not exist."""

import email
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

SHOWN = 100
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mail:
    """One file of the folder, as a page shows it."""

    name: str
    subject: str
    sender: str
    to: str
    sent_at: datetime | None
    text: str
    html: str


@never_cache
@require_safe
def dev_mail(request: HttpRequest) -> HttpResponse:
    """The newest messages."""
    folder = _folder()
    names = sorted((entry.name for entry in os.scandir(folder) if _is_mail(entry.name)), reverse=True)
    mails = [mail for name in names[:SHOWN] if (mail := _read(folder, name)) is not None]
    return render(request, "notifications/dev_mail.html", {"mails": mails, "count": len(names), "folder": folder})


@never_cache
@require_safe
def dev_mail_message(request: HttpRequest, name: str) -> HttpResponse:
    """One message; with `?part=html` its HTML alone, for the frame in the page."""
    mail = _read(_folder(), name)
    if mail is None:
        raise Http404
    if request.GET.get("part") == "html":
        return _framed(mail.html)
    response = render(request, "notifications/dev_mail_message.html", {"mail": mail})
    response._csp_update = {"frame-src": ["'self'"]}  # type: ignore[attr-defined]  # what csp.decorators set
    return response


def _framed(html: str) -> HttpResponse:
    """Somebody's HTML: it may bring styles of its own and nothing else, and its links open windows of their own."""
    response = HttpResponse(html.replace("<head>", '<head><base target="_blank">', 1))
    response._csp_config = {  # type: ignore[attr-defined]
        "default-src": ["'none'"],
        "style-src": ["'unsafe-inline'"],
        "img-src": ["data:"],
        "frame-ancestors": ["'self'"],
        "sandbox": ["allow-popups", "allow-popups-to-escape-sandbox"],
    }
    response["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _folder() -> Path:
    folder = Path(settings.DEV_MAIL_DIR or "")
    if not settings.DEV_MAIL_DIR or not folder.is_dir():
        raise Http404
    return folder


def _is_mail(name: str) -> bool:
    return name.endswith(".eml") and not name.startswith(".")


def _read(folder: Path, name: str) -> Mail | None:
    """None if there is no such message. `name` comes from outside: only a plain file right here is opened."""
    if os.sep in name or not _is_mail(name):
        return None
    try:
        with open(folder / name, "rb", opener=_open_plainly) as file:
            message = email.message_from_bytes(file.read(MAX_BYTES), policy=policy.default)
    except (OSError, ValueError):
        return None
    return Mail(
        name=name,
        subject=str(message["Subject"] or ""),
        sender=str(message["From"] or ""),
        to=str(message["To"] or ""),
        sent_at=_date(message),
        text=_part(message, "plain"),
        html=_part(message, "html"),
    )


def _open_plainly(path: str, flags: int) -> int:
    """Neither a link elsewhere nor a pipe, which would keep us waiting. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file")
    return descriptor


def _part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    if body is None:
        return ""
    try:
        return str(body.get_content())
    except LookupError:  # a charset that nobody knows
        return bytes(body.get_payload(decode=True) or b"").decode(errors="replace")


def _date(message: EmailMessage) -> datetime | None:
    """Without an offset, as Django writes it for UTC, the parser leaves the zone open."""
    found: datetime | None = getattr(message["Date"], "datetime", None)
    return found.replace(tzinfo=found.tzinfo or UTC) if found is not None else None
