"""The pages of keys: list and make, look and change, rotate, revoke.

A secret is in the answer to one POST and nowhere else: no address, session, message, log or cache holds it. Such an
answer is no redirect, so a reload sends the form again: a form for a new key carries the key's id, which fits once, and
a form to rotate names the secret that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import Case, Q, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from accounts.models import User
from apikeys import services
from apikeys.errors import KeyNotActive
from apikeys.forms import EditKeyForm, NewKeyForm, RotateForm
from apikeys.models import APIKey, scopes_of_role
from apikeys.services import words
from common import clock
from common.money import SYMBOLS
from common.policy import Actor, actor_of
from common.problems import Conflict, RoleRequired, ValidationFailed
from observability.models import AuditEvent

EVENTS_SHOWN = 20
KEYS_ON_A_PAGE = 50
IN_USE = timedelta(days=1)
WAIT_FOR_USE = timedelta(minutes=10)
STOP_POLLING = 286  # htmx's word for it
WHOLE_PAGE = {"HX-Retarget": "#main", "HX-Reselect": "#main > *", "HX-Reswap": "innerHTML show:window:top"}

methods = require_http_methods(["GET", "HEAD", "POST"])


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the trail: what, when, by whom, with what, from where."""

    words: Any
    at: datetime
    person: str
    client: str
    address: str


@dataclass(frozen=True, slots=True)
class Row:
    key: APIKey
    state: words.State
    access: str
    limit: words.Meter | None
    may_change: bool
    is_in_use: bool  # used within a day


@methods
@sensitive_variables()
def keys(request: HttpRequest) -> HttpResponse:
    """The organization's keys, and the form for a new one. The answer to the form shows the secret, once.

    htmx sends the form from the dialog: its faults come back as the form alone, a new key as the whole page.
    """
    actor, at = actor_of(request), clock.now()
    role = actor.role or ""
    is_htmx = request.headers.get("HX-Request") == "true"
    form = NewKeyForm(request.POST if request.method == "POST" else None, role=role, user_id=actor.user.pk)
    made, secret, promise = None, "", ""
    if form.is_bound and form.is_valid():
        try:
            made, secret = services.issue_key(organization=actor.organization, user=actor.user, **form.values(at))
        except ValidationFailed as problem:
            form.add_problem(problem)
        except Conflict:
            text = _(
                "This form was sent before, and made one key then. If you did not copy its secret, rotate the key."
            )
            messages.warning(request, text)
            return HttpResponse(status=204, headers={"HX-Redirect": reverse("keys")}) if is_htmx else redirect("keys")
        else:
            promise = words.promise_of(made, form.spend())
    is_faulty = form.is_bound and made is None
    context: dict[str, Any] = {"form": form, "currency": SYMBOLS.get(settings.CURRENCY, settings.CURRENCY)}
    if is_faulty and is_htmx:
        return _answer(request, "apikeys/new.html", context | {"is_dialog": True}, status=422)
    counts = APIKey.objects.of_organization(actor.organization).count_by_mode()
    mode = made.mode if made else _mode_of(request.GET.get("mode"), counts)
    page = _page_of(actor, at, request.GET.get("page"), mode)
    context |= {
        "page": page,
        "rows": _rows(actor, page.object_list, at),
        "mode": mode,
        "modes": [
            {"label": one.label, "href": f"?mode={one.value}", "current": one.value == mode} for one in APIKey.Mode
        ],
        "total": sum(counts.values()),
        "made": made,
        "secret": secret,
        "promise": promise,
        "may_make": bool(scopes_of_role(role)),
        "shows_form": is_faulty or "new" in request.GET,
    }
    response = _answer(request, "apikeys/keys.html", context, status=422 if is_faulty else 200)
    if made is not None:
        # From a dialog, the whole page takes the place of the one behind it.
        for name, value in WHOLE_PAGE.items():
            response.headers[name] = value
    return response


@methods
def key(request: HttpRequest, id: UUID) -> HttpResponse:
    """One key: its facts and limits; whoever controls it can change them."""
    actor, at = actor_of(request), clock.now()
    found = _find(actor, id)
    if request.method != "POST" and request.GET.get("part") == "use":
        return _use(request, found, at)
    if request.method == "POST":
        services.require_control(key=found, user=actor.user, role=actor.role)
        if found.revoked_at is not None:
            raise KeyNotActive("The key was revoked.")
    row = _rows(actor, [found], at)[0]
    clients = list(found.clients.order_by("-last_seen_at")[: services.MAX_CLIENTS])
    model_names = services.names_of_models(found.allowed_models)
    form = None
    if row.may_change:
        form = EditKeyForm(
            request.POST if request.method == "POST" else None,
            role=actor.role or "",
            key=found,
            limit=services.spend_limits_of([found.id]).get(found.id),
            model_names=model_names,
        )
    if form is not None and form.is_bound and form.is_valid():
        try:
            services.change_key(key=found, changes=form.changes(at))
        except ValidationFailed as problem:
            form.add_problem(problem)
        else:
            messages.success(request, _("Saved."))
            return redirect("key", id)
    is_faulty = form is not None and form.is_bound
    context = {
        "key": found,
        "row": row,
        "form": form,
        "model_names": [model_names.get(one, one) for one in found.allowed_models],
        "permissions": sorted(found.permissions),
        "clients": clients,
        "limits": [words.limit_row(limit) for limit in services.limits_of_key(found)],
        "events": _events(found),
        "is_overlapping": found.overlap_until is not None and found.overlap_until > at,
        "currency": SYMBOLS.get(settings.CURRENCY, settings.CURRENCY),
    }
    return _answer(request, "apikeys/key.html", context, status=422 if is_faulty else 200)


@methods
@sensitive_variables()
def rotate(request: HttpRequest, id: UUID) -> HttpResponse:
    """Ask, then give the key a new secret; the answer to the form shows it, once."""
    actor, at = actor_of(request), clock.now()
    found = _find_to_change(actor, id)
    if found.revoked_at is not None or found.is_expired(at):
        raise KeyNotActive("The key was revoked." if found.revoked_at is not None else "The key has expired.")
    form = RotateForm(request.POST if request.method == "POST" else None, initial={"shown": str(found)})
    secret = ""
    if form.is_bound and form.is_valid():
        if form.cleaned_data["shown"] != str(found):
            text = _("“%(name)s” was rotated already; its secret was shown then. Nothing was changed now.")
            messages.warning(request, text % {"name": found.name})
            return redirect("key", id)
        found, secret = services.rotate_key(key=found, overlap_seconds=form.cleaned_data["overlap_seconds"])
    clients = [] if secret else services.recent_clients(found, since=at - IN_USE)
    context = {"key": found, "form": form, "secret": secret, "clients": clients}
    is_faulty = form.is_bound and not secret
    return _answer(request, "apikeys/rotate.html", context, status=422 if is_faulty else 200)


@methods
def revoke(request: HttpRequest, id: UUID) -> HttpResponse:
    """Ask, then end the key. Repeating it changes nothing."""
    found, at = _find_to_change(actor_of(request), id), clock.now()
    if request.method == "POST" or found.revoked_at is not None:
        if request.method == "POST":
            services.revoke_key(key=found)
        messages.success(request, _("The key “%(name)s” is revoked.") % {"name": found.name})
        return redirect("keys")
    return _answer(request, "apikeys/revoke.html", {"key": found, "is_in_use": _is_in_use(found, at)})


def _answer(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    response = render(request, template, context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _use(request: HttpRequest, found: APIKey, at: datetime) -> HttpResponse:
    """For the card of a new secret, which asks every few seconds: nothing yet, or the last word."""
    if found.last_used_at is None and at - found.created_at < WAIT_FOR_USE:
        return HttpResponse(status=204, headers={"Cache-Control": "no-store"})
    return _answer(request, "apikeys/reveal.html#use", {"key": found}, status=STOP_POLLING)


def _events(found: APIKey) -> list[Event]:
    """What was done to the key, the newest first."""
    latest = AuditEvent.objects.filter(target_id=found.pk, target_type="apikey").order_by("-seq")[:EVENTS_SHOWN]
    events = sorted(latest, key=lambda event: event.id, reverse=True)  # of one transaction, in the order of writing
    names = dict(User.objects.filter(pk__in={event.actor_user_id for event in events}).values_list("pk", "name"))
    return [
        Event(
            words.EVENT_WORDS.get(event.action, event.action),
            event.at,
            names.get(event.actor_user_id, "") if event.actor_user_id is not None else "",
            services.client_of(event.client),
            event.address,
        )
        for event in events
    ]


def _find(actor: Actor, id: UUID) -> APIKey:
    found: APIKey | None = (
        APIKey.objects.of_organization(actor.organization).select_related("user", "organization").filter(pk=id).first()
    )
    if found is None:
        raise Http404
    return found


def _find_to_change(actor: Actor, id: UUID) -> APIKey:
    found = _find(actor, id)
    services.require_control(key=found, user=actor.user, role=actor.role)
    return found


def _mode_of(wanted: str | None, counts: dict[str, int]) -> str:
    """Live or test keys: those that were asked for, else those that there are."""
    if wanted in APIKey.Mode.values:
        return str(wanted)
    return APIKey.Mode.LIVE if counts.get(APIKey.Mode.LIVE) or not counts else APIKey.Mode.TEST


def _page_of(actor: Actor, at: datetime, number: str | None, mode: str) -> Page[APIKey]:
    """The keys that work, the newest first, then those that have ended."""
    works = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=at))
    found = (
        APIKey.objects.of_organization(actor.organization)
        .filter(mode=mode)
        .select_related("user")
        .order_by(Case(When(works, then=Value(0)), default=Value(1)), "-id")
    )
    return Paginator(found, KEYS_ON_A_PAGE).get_page(number)


def _rows(actor: Actor, found: Iterable[APIKey], at: datetime) -> list[Row]:
    found = list(found)
    limits = services.effective_limits(found, organization=actor.organization)
    return [
        Row(
            key=one,
            state=words.state_of(one, at),
            access=words.access_words(one),
            limit=words.meter_of(limits.get(one.id)),
            may_change=one.revoked_at is None and _controls(actor, one),
            is_in_use=_is_in_use(one, at),
        )
        for one in found
    ]


def _controls(actor: Actor, found: APIKey) -> bool:
    try:
        services.require_control(key=found, user=actor.user, role=actor.role)
    except RoleRequired:
        return False
    return True


def _is_in_use(found: APIKey, at: datetime) -> bool:
    return found.last_used_at is not None and at - found.last_used_at < IN_USE
