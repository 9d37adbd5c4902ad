"""The active organization: its facts and its end; another one made, or acted for from now on."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts import services
from accounts.forms import NewOrganizationForm, OrganizationForm, SpendLimitForm, set_problem
from accounts.models import Membership, role_may
from common import clock
from common.money import SYMBOLS
from common.policy import SESSION_ORGANIZATION, actor_of
from common.problems import ValidationFailed

methods = require_http_methods(["GET", "HEAD", "POST"])


@methods
def organization(request: HttpRequest) -> HttpResponse:
    """Name, time zone and spend limit, for those who may change them; for everybody what they are."""
    actor = actor_of(request)
    mine, data = actor.organization, request.POST if request.method == "POST" else None
    budget = services.spend_limits_of([mine.pk]).get(mine.pk)
    is_limit = data is not None and data.get("act") == "limit"
    form = limit = None
    if role_may(actor.role, "organization.change"):
        form = OrganizationForm(None if is_limit else data, organization=mine)
    if role_may(actor.role, "limits.change"):
        limit = SpendLimitForm(data if is_limit else None, budget=budget)
    if data is not None:
        services.require_right(actor.role, "limits.change" if is_limit else "organization.change")
    if form is not None and form.is_bound and form.is_valid():
        services.update_organization(organization=mine, **form.cleaned_data)
        messages.success(request, _("The organization is saved."))
        return redirect("organization")
    if limit is not None and limit.is_bound and limit.is_valid():
        services.limit_spending(organization=mine, **limit.values())
        messages.success(request, _("The spend limit is saved."))
        return redirect("organization")
    context = {
        "organization": mine,
        "is_personal": mine.personal_owner_id is not None,
        "role": Membership.Role(actor.role or "").label,
        "form": form,
        "limit": limit,
        "budget": budget,
        "symbol": SYMBOLS.get(settings.CURRENCY, settings.CURRENCY),
        "may_close": role_may(actor.role, "organization.close") and mine.personal_owner_id is None,
    }
    return render(request, "accounts/organization.html", context, status=422 if data is not None else 200)


@methods
def close(request: HttpRequest) -> HttpResponse:
    """Say what is in the way, or ask, then close the organization for good."""
    actor = actor_of(request)
    services.require_right(actor.role, "organization.close")
    mine = actor.organization
    if request.method == "POST":
        services.close_organization(organization=mine, by=actor.user)
        request.session.pop(SESSION_ORGANIZATION, None)
        messages.success(request, _("%(name)s is closed.") % {"name": mine.name})
        return redirect("home")
    context = {
        "organization": mine,
        "is_personal": mine.personal_owner_id is not None,
        "obstacles": services.obstacles_to_closing(mine, clock.now()),
    }
    return render(request, "accounts/close.html", context)


@methods
def new_organization(request: HttpRequest) -> HttpResponse:
    """A form for another organization; it is the active one as soon as it is made."""
    actor = actor_of(request)
    zone = actor.organization.time_zone
    form = NewOrganizationForm(request.POST if request.method == "POST" else None, time_zone=zone)
    if form.is_bound and form.is_valid():
        try:
            made = services.start_organization(by=actor.user, **form.values())
        except ValidationFailed as problem:
            set_problem(form, problem)
        else:
            request.session[SESSION_ORGANIZATION] = made.public_id
            messages.success(request, _("%(name)s is made, and you act for it from now on.") % {"name": made.name})
            return redirect("members")
    status = 422 if form.is_bound else 200
    return render(request, "accounts/new_organization.html", {"form": form}, status=status)


@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    """Act for another organization of one's own, in this session."""
    wanted = request.POST.get("organization", "")
    chosen, _role = services.resolve_actor(actor_of(request).user, wanted)
    if chosen.personal_owner_id == request.user.pk:
        request.session.pop(SESSION_ORGANIZATION, None)
    else:
        request.session[SESSION_ORGANIZATION] = chosen.public_id
    messages.success(request, _("You act for %(name)s now.") % {"name": chosen.name})
    return redirect(_safe(request, request.POST.get("next", "")) or "home")


def _safe(request: HttpRequest, address: str) -> str:
    """The address, if it is one of ours."""
    is_ours = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return address if is_ours and address.startswith("/") else ""
