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
from observability.services.words import ACTIONS, words_of

EVENTS_A_PAGE = 25
CURSOR = re.compile(r"-?[0-9]{1,18}")

#: Of each choice above the list: its name, and which acts it shows.
GROUPS = {
    "log-ins": (gettext_lazy("Log-ins"), ("account.logged_in", "account.logged_out", "account.login_failed")),
    "failed": (gettext_lazy("Failed log-ins"), ("account.login_failed",)),
    "sessions": (
        pgettext_lazy("filter", "Sessions ended"),
        ("account.session_ended", "account.sessions_ended", "account.alarm_raised"),
    ),
}
#: And the last choice all others.
FREQUENT = (*GROUPS["log-ins"][1], "account.session_ended", "account.sessions_ended")
GROUPS["changes"] = (
    gettext_lazy("Changes"),
    tuple(name for name in ACTIONS if name.startswith(("account.", "developer.")) and name not in FREQUENT),
)
BAD = ("account.login_failed", "account.registration_repeated", "account.alarm_raised")
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
        found = found.filter(action__in=GROUPS[group][1])
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
    facts = {**(event.before or {}), **(event.after or {})}
    details = [
        ", ".join(str(KINDS.get(one, one)) for one in value.split(", "))
        for key in ("email", "type", "device", "provider")
        if isinstance(value := facts.get(key), str)
    ]
    if event.actor_user_id not in (None, person):
        details.append(_("by the staff"))
    return {
        "event": event,
        "words": words_of(event.action),
        "is_bad": event.action in BAD,
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
