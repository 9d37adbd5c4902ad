"""The audit log: what somebody did that mattered, once and for good. The chain itself is the database's work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Model

from common.ids import uuid7
from common.logs import HIDDEN, mask
from observability.models import AuditEvent
from observability.services.context import NOBODY, current_request

logger = structlog.get_logger(__name__)

#: About a person, or by the staff about somebody: whichever organization they act for, it is not in that one's log.
ELSEWHERE = ("account.", "developer.", "staff.", "budget.", "message.")
MAX_TEXT = 500  # of one value in before and after
_SECRET_NAMES = re.compile(
    r"passw|secret|cookie|authorization|pepper|private_key|signing_key|api_key$|(^|_)token$|(^|_)otp$|recovery_codes?$",
    re.IGNORECASE,
)


class SecretInAudit(ValueError):
    """Somebody was about to write a secret into the log that nobody can correct. A bug, and a failed test."""


def record(
    action: str,
    *,
    target: Any = None,
    target_type: str = "",
    target_id: UUID | None = None,
    organization_id: UUID | None = None,
    subject_user_id: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    actor_user_id: UUID | None = None,
) -> UUID:
    """Write one event, in the caller's transaction: what is undone leaves no event. Returns the event's id.

    action: dotted words, `key.created`.  target: the row that was acted upon; or its type (a model's name) and id.
    subject_user_id: the person in whose security log it appears.  organization_id: in whose audit log.
    before, after: what changed, as far as it is no secret; secrets are masked, and refused in tests.
    Actor, key, organization, address, client and request id are those of the running request unless given; an event
    about a person, or of the staff, is in no organization's log unless one is given.
    """
    context = current_request()
    caller = context.caller if context is not None else NOBODY
    if isinstance(target, Model):
        target_type, target_id = target._meta.model_name or "", _as_uuid(target.pk)
    event = AuditEvent(
        id=uuid7(),
        actor_user_id=actor_user_id or caller.user_id,
        actor_key_id=caller.key_id if actor_user_id in (None, caller.user_id) else None,
        organization_id=organization_id or (None if action.startswith(ELSEWHERE) else caller.organization_id),
        subject_user_id=subject_user_id,
        action=action,
        target_type=target_type,
        target_id=target_id,
        before=None if before is None else scrub(before),
        after=None if after is None else scrub(after),
        address=context.address if context is not None else "",
        client=context.client if context is not None else "",
        request_id=context.request_id if context is not None else None,
    )
    event.save(force_insert=True)
    return event.id


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two states of one thing, only what differs between them."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}


def scrub(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as plain JSON without secrets. Where AUDIT_REFUSES_SECRETS is set, as in tests, it raises instead."""
    return {str(name): _scrub(str(name), value) for name, value in values.items()}


def _scrub(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if name and _SECRET_NAMES.search(name) and value != "":
        return _hide(name)
    match value:
        case Enum():
            return _scrub(name, value.value)
        case int():
            return value
        case datetime() | date():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():  # digests and sealed secrets have no place here
            return _hide(name)
        case Mapping():
            return {str(key): _scrub(str(key), inner) for key, inner in value.items()}
        case list() | tuple():
            return [_scrub("", inner) for inner in value]
        case set() | frozenset():
            return sorted((_scrub("", inner) for inner in value), key=str)
        case _:  # texts, and what has a text of its own: ids, amounts, translated words; floats, to stay exact
            text = str(value)
            return _hide(name) if mask(text) != text else text.replace("\0", "\ufffd")[:MAX_TEXT]


def _hide(name: str) -> str:
    if settings.AUDIT_REFUSES_SECRETS:
        raise SecretInAudit(f"{name or 'a value'} looks like a secret")
    logger.error("secret_in_audit", field=name)
    return HIDDEN


def _as_uuid(pk: Any) -> UUID | None:
    """Rows of other packages are numbered; their number fits into the low end of a UUID."""
    if isinstance(pk, UUID):
        return pk
    return UUID(int=pk) if isinstance(pk, int) else None
