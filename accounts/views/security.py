"""The pages about an account's safety: where it is logged in, what happened to it, and “this was not me”."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import HASH_SESSION_KEY
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import services
from common.policy import actor_of
from observability.models import AuditEvent

EVENTS_A_PAGE = 25
CURSOR = re.compile(r"-?[0-9]{1,18}")

#: What an act is called in the log, by its name without `account.`.
ACTS = {
    "registered": gettext_lazy("Signed up"),
    "registration_repeated": gettext_lazy("Somebody signed up with your address again"),
    "logged_in": gettext_lazy("Logged in"),
    "logged_out": gettext_lazy("Logged out"),
    "login_failed": gettext_lazy("Failed log-in"),
    "changed": gettext_lazy("Profile changed"),
    "password_changed": gettext_lazy("Password changed"),
    "password_reset": gettext_lazy("Password reset"),
    "email_added": gettext_lazy("E-mail address added"),
    "email_verified": gettext_lazy("E-mail address confirmed"),
    "email_changed": gettext_lazy("Primary e-mail address changed"),
    "email_removed": gettext_lazy("E-mail address removed"),
    "factor_added": gettext_lazy("Second factor or passkey added"),
    "factor_changed": gettext_lazy("New recovery codes"),
    "factor_removed": gettext_lazy("Second factor or passkey removed"),
    "session_ended": gettext_lazy("Session ended"),
    "sessions_ended": gettext_lazy("All sessions ended"),
    "alarm_raised": gettext_lazy("“This was not me”"),
    "identity_added": gettext_lazy("Log-in connected"),
    "identity_removed": gettext_lazy("Log-in disconnected"),
    "exported": gettext_lazy("Data exported"),
    "closed": gettext_lazy("Account closed"),
    "reopened": gettext_lazy("Account reopened"),
}
GROUPS = {
    "log-ins": (gettext_lazy("Log-ins"), ("logged_in", "logged_out", "login_failed")),
    "failed": (gettext_lazy("Failed log-ins"), ("login_failed",)),
    "sessions": (pgettext_lazy("filter", "Sessions ended"), ("session_ended", "sessions_ended", "alarm_raised")),
    "changes": (
        gettext_lazy("Changes"),
        tuple(
            name
            for name in ACTS
            if name not in ("logged_in", "logged_out", "login_failed", "session_ended", "sessions_ended")
        ),
    ),
}
KINDS = {
    "totp": gettext_lazy("authenticator app"),
    "webauthn": gettext_lazy("passkey"),
    "recovery_codes": gettext_lazy("recovery codes"),
}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sessions(request: HttpRequest) -> HttpResponse:
    """Every browser and program that is logged in; end one, or all but this one."""
    user = actor_of(request).user
    key = request.session.session_key or ""
    if request.method == "POST":
        if "end" not in request.POST:
            services.end_other_sign_ins(user=user, session_key=key)
            request.session[HASH_SESSION_KEY] = user.get_session_auth_hash()
            messages.success(request, _("Everything else is logged out."))
        elif services.end_sign_in(user=user, id=_id_of(request.POST["end"])):
            messages.success(request, _("That session is logged out."))
        else:
            messages.info(request, _("That session had ended already."))
        return redirect("sessions")
    services.see_session(user=user, session_key=key)
    rows = services.list_sign_ins(user=user, session_key=key)
    return render(
        request, "accounts/sessions.html", {"rows": rows, "has_others": any(not row.is_current for row in rows)}
    )


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


@require_http_methods(["GET", "HEAD"])
def security_log(request: HttpRequest) -> HttpResponse:
    """What happened to the account, the newest first; older events by a cursor."""
    user = actor_of(request).user
    group = request.GET.get("show", "")
    found = AuditEvent.objects.about(user.pk).order_by("-seq")
    if group in GROUPS:
        found = found.filter(action__in=[f"account.{name}" for name in GROUPS[group][1]])
    else:
        group = ""
    before = request.GET.get("before", "")
    if CURSOR.fullmatch(before):
        found = found.filter(seq__lt=int(before))
    else:
        before = ""
    events = list(found[: EVENTS_A_PAGE + 1])
    older = events[EVENTS_A_PAGE - 1].seq if len(events) > EVENTS_A_PAGE else None
    context = {
        "rows": [describe(event, user.pk) for event in events[:EVENTS_A_PAGE]],
        "older": older,
        "is_first": not before,
        "group": group,
        "groups": [{"label": _("All"), "href": "?", "current": not group}]
        + [
            {"label": label, "href": f"?show={name}", "current": name == group}
            for name, (label, _names) in GROUPS.items()
        ],
    }
    return render(request, "accounts/security_log.html", context)


def describe(event: AuditEvent, person: UUID) -> dict[str, Any]:
    """One event in words."""
    name = event.action.partition(".")[2]
    facts = {**(event.before or {}), **(event.after or {})}
    details = [
        str(KINDS.get(value, value))
        for key in ("email", "type", "device", "provider")
        if isinstance(value := facts.get(key), str)
    ]
    if event.actor_user_id not in (None, person):
        details.append(_("by the staff"))
    return {
        "event": event,
        "words": ACTS.get(name) or event.action.replace(".", " ").replace("_", " ").capitalize(),
        "is_bad": name in ("login_failed", "registration_repeated", "alarm_raised"),
        "details": ", ".join(details),
        "device": services.name_device(event.client) if event.client else "",
    }


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def not_me(request: HttpRequest, token: str) -> HttpResponse:
    """The link in a notice. Opening it changes nothing: mail programs and scanners do that by themselves."""
    if request.method == "POST":
        alarm, done = services.raise_alarm(token), True
    else:
        alarm, done = services.find_alarm(token), False
    context = {"alarm": alarm, "done": done and alarm is not None}
    return render(request, "accounts/not_me.html", context, status=200 if alarm else 410)
