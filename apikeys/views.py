"""The pages of keys: list and make, look and change, rotate, revoke.

A secret is in the answer of one POST and nowhere else: no address, session, log or browser cache holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from accounts.models import Budget, Organization
from apikeys import services
from apikeys.forms import EditKeyForm, NewKeyForm, RotateForm
from apikeys.models import APIKey, scopes_of_role
from common import clock
from common.money import display
from common.policy import Actor, actor_of
from common.problems import Problem

WINDOWS = {
    "day": gettext_lazy("today"),
    "week": gettext_lazy("this week"),
    "month": gettext_lazy("this month"),
    "lifetime": gettext_lazy("in all"),
}
MAX_SHOWN = 200

page = require_http_methods(["GET", "HEAD", "POST"])


@page
@sensitive_variables()
def keys(request: HttpRequest) -> HttpResponse:
    """The organization's keys, and the form for a new one. The answer to the form shows the secret, once."""
    actor = actor_of(request)
    at = clock.now()
    form = NewKeyForm(request.POST if request.method == "POST" else None, role=actor.role or "")
    made, secret = None, ""
    if form.is_bound and form.is_valid():
        try:
            made, secret = services.issue_key(organization=actor.organization, user=actor.user, **form.values(at))
        except Problem as problem:
            form.add_problem(problem)
        else:
            form = NewKeyForm(role=actor.role or "")
    context = {
        "rows": _rows(actor, at),
        "form": form,
        "made": made,
        "secret": secret,
        "may_make": bool(scopes_of_role(actor.role or "")),
        "is_form_open": form.is_bound or (made is None and request.GET.get("new") == "1"),
    }
    return _answer(request, "apikeys/keys.html", context, status=422 if form.is_bound else 200)


@page
def key(request: HttpRequest, id: UUID) -> HttpResponse:
    """One key: its limits and facts; whoever controls it can change them."""
    actor = actor_of(request)
    found = _find(actor, id)
    may_change = _may_change(actor, found)
    form = None
    if may_change and found.revoked_at is None:
        limit = services.spend_limits_of([found.id]).get(found.id)
        initial = {
            "name": found.name,
            "permissions": found.permissions,
            "spend_limit": None if limit is None else limit.limit,
            "window": Budget.Window.MONTH if limit is None else limit.window,
        }
        form = EditKeyForm(request.POST if request.method == "POST" else None, role=actor.role or "", initial=initial)
    if form is not None and form.is_bound and form.is_valid():
        try:
            services.change_key(key=found, changes=form.values())
        except Problem as problem:
            form.add_problem(problem)
        else:
            messages.success(request, _("Saved."))
            return redirect("key", id)
    limits = services.effective_limits([found], organization=actor.organization)
    context = {
        "key": found,
        "state": _state(found, clock.now()),
        "limit": _limit_words(limits.get(found.id), actor.organization),
        "form": form,
        "may_change": may_change,
    }
    is_faulty = form is not None and form.is_bound
    return _answer(request, "apikeys/key.html", context, status=422 if is_faulty else 200)


@page
@sensitive_variables()
def rotate(request: HttpRequest, id: UUID) -> HttpResponse:
    """Ask, then give the key a new secret; the answer to the form shows it, once."""
    actor = actor_of(request)
    found = _find_to_change(actor, id)
    form = RotateForm(request.POST if request.method == "POST" else None)
    secret = ""
    if form.is_bound and form.is_valid():
        found, secret = services.rotate_key(key=found, **form.cleaned_data)
    context = {"key": found, "form": form, "secret": secret}
    is_faulty = form.is_bound and not secret
    return _answer(request, "apikeys/rotate.html", context, status=422 if is_faulty else 200)


@page
def revoke(request: HttpRequest, id: UUID) -> HttpResponse:
    """Ask, then end the key."""
    found = _find_to_change(actor_of(request), id)
    if request.method == "POST":
        services.revoke_key(key=found)
        messages.success(request, _("The key “%(name)s” is revoked.") % {"name": found.name})
        return redirect("keys")
    return _answer(request, "apikeys/revoke.html", {"key": found})


def _answer(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = render(request, template, context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _find(actor: Actor, id: UUID) -> APIKey:
    found = APIKey.objects.of_organization(actor.organization).select_related("user").filter(pk=id).first()
    if found is None:
        raise Http404
    return found


def _find_to_change(actor: Actor, id: UUID) -> APIKey:
    found = _find(actor, id)
    services.require_control(key=found, user=actor.user, role=actor.role)
    return found


def _may_change(actor: Actor, found: APIKey) -> bool:
    return found.user_id == actor.user.pk or actor.role in ("owner", "admin")


def _rows(actor: Actor, at: datetime) -> Iterable[dict[str, Any]]:
    """The keys in use first, then those that have ended; each with the limit that counts, in words."""
    found = list(APIKey.objects.of_organization(actor.organization).select_related("user").order_by("-id")[:MAX_SHOWN])
    limits = services.effective_limits(found, organization=actor.organization)
    rows = [
        {
            "key": one,
            "state": _state(one, at),
            "limit": _limit_words(limits.get(one.id), actor.organization),
            "may_change": _may_change(actor, one) and one.revoked_at is None,
        }
        for one in found
    ]
    return sorted(rows, key=lambda row: row["state"]["has_ended"])


def _state(found: APIKey, at: datetime) -> dict[str, Any]:
    if found.revoked_at is not None:
        return {"label": _("Revoked"), "tone": "bad", "has_ended": True}
    if found.is_expired(at):
        return {"label": _("Expired"), "tone": "bad", "has_ended": True}
    if found.expires_at is not None:
        days = (found.expires_at - at).days
        label = _("Expires in %(days)d days") % {"days": days} if days else _("Expires today")
        return {"label": label, "tone": "warn" if days < 7 else "", "has_ended": False}
    return {"label": "", "tone": "", "has_ended": False}


def _limit_words(limit: services.EffectiveLimit | None, organization: Organization) -> dict[str, Any] | None:
    """The meter of a limit: used, limit, and the sentence beside it."""
    if limit is None:
        return None
    values = {
        "used": display(limit.used_nano, settings.CURRENCY),
        "limit": display(limit.limit_nano, settings.CURRENCY),
        "window": WINDOWS[limit.window],
    }
    if limit.source == "key":
        text = _("%(used)s of %(limit)s key limit %(window)s") % values
    else:
        text = _("No key limit.")
        if limit.own_nano is not None:
            text = _("Key limit %(limit)s, but:") % {"limit": display(limit.own_nano, settings.CURRENCY)}
        if limit.source == "credit":
            text += " " + _("%(used)s of %(limit)s credit spent") % values
        else:
            text += " " + _("%(used)s of %(limit)s account limit %(window)s") % values
    if limit.used_nano >= limit.limit_nano and limit.resets_at is not None:
        day = formats.date_format(timezone.localtime(limit.resets_at), "j M Y")
        text = _("%(text)s: blocked until %(day)s") % {"text": text, "day": day}
    return {"used": limit.used_nano, "limit": limit.limit_nano, "text": text}
