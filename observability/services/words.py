"""The logs in words: what an act is called, what it was done to, and what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from common.ids import encode
from common.money import display
from observability.models import AuditEvent

#: What an act in an organization is called. Acts on a person's own account are told in their security log.
ACTIONS = {
    "key.created": _("Key made"),
    "key.changed": _("Key changed"),
    "key.rotated": _("Key rotated"),
    "key.revoked": _("Key revoked"),
    "key.leaked": _("Key reported as leaked, and revoked"),
    "organization.created": _("Organization made"),
    "organization.changed": _("Organization changed"),
    "organization.limit_changed": _("Spend limit changed"),
    "organization.rate_limit_changed": _("Rate limit changed"),
    "organization.member_invited": _("Person invited"),
    "organization.invitation_resent": _("Invitation sent again"),
    "organization.invitation_revoked": _("Invitation taken back"),
    "organization.invitation_declined": _("Invitation declined"),
    "organization.member_joined": _("Member joined"),
    "organization.member_left": _("Member left"),
    "organization.member_removed": _("Member removed"),
    "organization.role_changed": _("Role changed"),
    "organization.ownership_transferred": _("Ownership handed over"),
    "organization.closed": _("Organization closed"),
    "budget.limit_changed": _("Limit changed by staff"),
    "model.created": _("Model listed"),
    "model.changed": _("Listing changed"),
    "model.version_added": _("Version added"),
    "model.price_changed": _("Price set"),
    "model.endpoint_set": _("Endpoint set"),
    "model.submitted": _("Model submitted"),
    "model.published": _("Model published"),
    "model.rejected": _("Model rejected"),
    "model.deprecated": _("Model deprecated"),
    "model.suspended": _("Model suspended"),
    "model.archived": _("Model archived"),
    "model.deleted": _("Draft deleted"),
    "staff.added": _("Added by staff"),
    "staff.changed": _("Changed by staff"),
    "staff.deleted": _("Deleted by staff"),
}

#: Name of a table's rows as events carry it -> what it is called outside, and the prefix of its ids.
TARGETS = {
    "user": ("user", "usr"),
    "organization": ("organization", "org"),
    "membership": ("member", "mbr"),
    "invitation": ("invitation", ""),
    "apikey": ("key", "key"),
    "aimodel": ("model", "mdl"),
    "modelversion": ("version", "ver"),
    "budget": ("budget", "bud"),
    "message": ("message", "msg"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One fact before and after; "" where there was or is none."""

    name: str
    before: str
    after: str


def words_of(action: str) -> str:
    """An act in words; one that has none here by its own name."""
    return str(ACTIONS.get(action) or action.replace(".", ": ").replace("_", " ").capitalize())


def target_of(event: AuditEvent) -> tuple[str, str]:
    """What was acted upon, as the API names it: its type and its id; two empty texts for nothing."""
    type, prefix = TARGETS.get(event.target_type, (event.target_type, ""))
    return type, _id_text(event.target_id, prefix) if event.target_id is not None else ""


def _id_text(id: UUID, prefix: str) -> str:
    if id.int < 2**63:  # the number of a row of another package
        return str(id.int)
    return encode(prefix, id) if prefix else str(id)


def changes_of(event: AuditEvent) -> Iterator[Change]:
    """What the event says about before and after, fact by fact."""
    before, after = event.before or {}, event.after or {}
    for name in {**before, **after}:
        was, has = _text(name, before.get(name)), _text(name, after.get(name))
        if was or has:
            yield Change(name.removesuffix("_nano").replace("_", " "), was, has)


def _text(name: str, value: Any) -> str:
    match value:
        case None | "" | [] | {}:
            return ""
        case int() if name.endswith("_nano") and not isinstance(value, bool):
            return display(value, settings.CURRENCY)
        case list():
            return ", ".join(str(one) for one in value)
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)
