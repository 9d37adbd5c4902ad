"""Where somebody is logged in: browsers, and programs that hold a refresh token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts.models import BrowserSession, RefreshFamily, User
from accounts.services import mails
from accounts.services.devices import name_device
from accounts.services.digests import digest
from accounts.services.events import record_about
from accounts.services.session_store import row_key
from accounts.services.tokens import end_family, revoke_all
from common.clock import ClockNow, now
from common.ids import encode
from observability.services import current_client

SEEN_EVERY_SECONDS = 60  # how exact "last seen" is; one write a minute at most
SHOWN = 100  # of each kind
STILL_WRITTEN = timedelta(hours=1)  # a new session is known here before its own row is there


@dataclass(frozen=True, slots=True)
class SignIn:
    """One row of the list. kind: `browser` or `program`."""

    id: UUID
    kind: str
    device: str
    address: str
    began_at: datetime
    seen_at: datetime
    is_current: bool


def list_sign_ins(*, user: User, session_key: str | None) -> list[SignIn]:
    """Everything that is logged in now, the present session first, then what was seen last."""
    current = row_key(session_key) if session_key else None
    living = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=ClockNow())
    rows = BrowserSession.objects.filter(Exists(living), user=user).order_by("-last_seen_at")[:SHOWN]
    found = [
        SignIn(
            row.pk,
            "browser",
            name_device(row.user_agent),
            row.address,
            row.created_at,
            row.last_seen_at,
            row.session_key == current,
        )
        for row in rows
    ]
    families = RefreshFamily.objects.filter(user=user, revoked_at=None, tokens__expires_at__gt=ClockNow()).distinct()
    found += [
        SignIn(row.pk, "program", name_device(row.user_agent), row.address, row.created_at, row.last_used_at, False)
        for row in families.order_by("-last_used_at")[:SHOWN]
    ]
    return sorted(found, key=lambda one: (one.is_current, one.seen_at), reverse=True)


def keep_session(*, user: User, session_key: str) -> None:
    """Note that this session of the user is in use, by whoever is asking now."""
    address, user_agent = current_client()
    facts = {"user": user, "address": address, "user_agent": user_agent, "last_seen_at": now()}
    BrowserSession.objects.update_or_create(session_key=row_key(session_key), defaults=facts)


def see_session(*, user: User, session_key: str) -> None:
    """As `keep_session`, at most once a minute; the rest costs a look into the cache."""
    if cache.add(f"seen:{digest('seen', session_key).hex()}", 1, SEEN_EVERY_SECONDS):
        keep_session(user=user, session_key=session_key)


def forget_session(*, session_key: str) -> None:
    """It was logged out."""
    BrowserSession.objects.filter(session_key=row_key(session_key)).delete()


@transaction.atomic
def end_sign_in(*, user: User, id: UUID) -> bool:
    """Log one browser or program out; False when there is none of this person's with that id."""
    row = BrowserSession.objects.filter(pk=id, user=user).first()
    if row is not None:
        Session.objects.filter(session_key=row.session_key).delete()
        row.delete()
        record_about(
            "session_ended", user, before={"session": encode("ses", id), "device": name_device(row.user_agent)}
        )
        return True
    family = RefreshFamily.objects.filter(pk=id, user=user).first()
    return family is not None and end_family(family=family, reason="ended")


@transaction.atomic
def end_other_sign_ins(*, user: User, session_key: str) -> None:
    """Log out everywhere but here, and tell the person. The view must put the new session version into its session."""
    revoke_all(user=user, reason="logged_out_elsewhere", but_session=row_key(session_key))
    mails.mail_notice(user=user, kind="sessions_ended")


@transaction.atomic
def prune_sessions() -> int:
    """Forget what is known of sessions that are gone. Returns how many."""
    gone = ~Exists(Session.objects.filter(session_key=OuterRef("session_key")))
    return BrowserSession.objects.filter(gone, last_seen_at__lt=now() - STILL_WRITTEN).delete()[0]
