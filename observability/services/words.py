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

#: What each act is called, in an organization's log and in a person's security log.
ACTIONS = {
    "account.registered": _("Signed up"),
    "account.registration_repeated": _("Somebody signed up with your address again"),
    "account.logged_in": _("Logged in"),
    "account.logged_out": _("Logged out"),
    "account.login_failed": _("Failed log-in"),
    "account.changed": _("Profile changed"),
    "account.password_changed": _("Password changed"),
    "account.password_reset": _("Password reset"),
    "account.email_added": _("E-mail address added"),
    "account.email_verified": _("E-mail address confirmed"),
    "account.email_changed": _("Primary e-mail address changed"),
    "account.email_removed": _("E-mail address removed"),
    "account.factor_added": _("Second factor or passkey added"),
    "account.factor_changed": _("New recovery codes"),
    "account.factor_removed": _("Second factor or passkey removed"),
    "account.session_ended": _("Session ended"),
    "account.sessions_ended": _("All sessions ended"),
    "account.alarm_raised": _("“This was not me”"),
    "account.identity_added": _("Log-in connected"),
    "account.identity_removed": _("Log-in disconnected"),
    "account.exported": _("Data exported"),
    "account.closed": _("Account closed"),
    "account.reopened": _("Account reopened"),
    "account.erased": _("Account forgotten"),
    "developer.requested": _("Asked to publish"),
    "developer.granted": _("May publish now"),
    "developer.refused": _("Request to publish refused"),
    "developer.withdrawn": _("May publish no more"),
    "key.created": _("Key made"),
    "key.changed": _("Key changed"),
    "key.rotated": _("Key rotated"),
    "key.revoked": _("Key revoked"),
    "key.leaked": _("Key reported as leaked"),
    "deployment.created": _("Deployment made"),
    "deployment.changed": _("Deployment changed"),
    "deployment.deleted": _("Deployment deleted"),
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
    "credit.granted": _("Credit given"),
    "credit.ended": _("Credit ended"),
    "model.created": _("Model listed"),
    "model.changed": _("Listing changed"),
    "model.version_added": _("Version added"),
    "model.version_sunset_set": _("End of a version set"),
    "model.price_changed": _("Price set"),
    "model.price_withdrawn": _("Announced price withdrawn"),
    "model.endpoint_set": _("Endpoint set"),
    "model.file_added": _("File uploaded"),
    "model.file_removed": _("File removed"),
    "model.check_asked": _("Contract check asked for"),
    "model.submitted": _("Model submitted"),
    "model.published": _("Model published"),
    "model.rejected": _("Model rejected"),
    "model.deprecated": _("Model deprecated"),
    "model.suspended": _("Model suspended"),
    "model.archived": _("Model archived"),
    "model.deleted": _("Draft deleted"),
    "model.reported": _("Model reported to the staff"),
    "review.posted": _("Review written"),
    "review.changed": _("Review changed"),
    "review.deleted": _("Review deleted"),
    "review.replied": _("Review answered"),
    "review.reply_deleted": _("Answer to a review deleted"),
    "review.reported": _("Review reported to the staff"),
    "review.hidden": _("Review hidden by staff"),
    "review.shown": _("Review shown again by staff"),
    "report.decided": _("Report decided by staff"),
    "message.sent_again": _("Mail sent again by staff"),
    "staff.added": _("Added by staff"),
    "staff.changed": _("Changed by staff"),
    "staff.deleted": _("Deleted by staff"),
}

#: Name of a table's rows as events carry it -> what it is called outside, and the prefix of its ids.
TARGETS = {
    "user": ("user", "usr"),
    "organization": ("organization", "org"),
    "membership": ("member", "mbr"),
    "invitation": ("invitation", "ivt"),
    "apikey": ("key", "key"),
    "aimodel": ("model", "mdl"),
    "modelversion": ("version", "ver"),
    "deployment": ("deployment", "dep"),
    "budget": ("budget", "bud"),
    "creditgrant": ("credit grant", "grant"),
    "message": ("message", "msg"),
    "review": ("review", "rev"),
    "report": ("report", "rpt"),
}


#: What an organization's log can hold; the rest is in a person's security log, or for the staff alone.
OF_ORGANIZATIONS = {
    action: words for action, words in ACTIONS.items() if not action.startswith(("account.", "developer.", "message."))
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
