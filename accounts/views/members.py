"""Who is in the active organization: seen by everybody there, changed by those who may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.errors import AlreadyInvited, AlreadyMember
from accounts.forms import InviteForm, RoleForm, TransferForm
from accounts.models import Invitation, Membership, role_may
from common import clock
from common.policy import SESSION_ORGANIZATION, Actor, actor_of
from common.problems import RateLimited

MEMBERS_ON_A_PAGE = 50
methods = require_http_methods(["GET", "HEAD", "POST"])


@dataclass(frozen=True, slots=True)
class Row:
    """A member as the page shows them; `place.keys` is how many of their keys here work."""

    place: Membership
    is_me: bool
    may_change: bool


@methods
def members(request: HttpRequest) -> HttpResponse:
    """Members and open invitations; the form that invites."""
    actor = actor_of(request)
    may_invite = role_may(actor.role, "members.invite")
    if request.method == "POST":
        services.require_right(actor.role, "members.invite")
    form = InviteForm(request.POST if request.method == "POST" else None) if may_invite else None
    if form is not None and form.is_bound and form.is_valid():
        try:
            made = services.invite_member(organization=actor.organization, by=actor.user, **form.cleaned_data)
        except (AlreadyMember, AlreadyInvited, RateLimited) as problem:
            form.add_error("email", problem.detail)
        else:
            messages.success(request, _("The invitation to %(email)s is on its way.") % {"email": made.email})
            return redirect("members")
    at = clock.now()
    found = Membership.objects.of_organization(actor.organization).with_keys(at).order_by("id")
    page = Paginator(found, MEMBERS_ON_A_PAGE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "actor": actor,
        "organization": actor.organization,
        "page": page,
        "rows": [_row(actor, place) for place in page],
        "form": form,
        "may_leave": may_leave(actor),
        "may_transfer": may_transfer(actor) and page.paginator.count > 1,
    }
    if may_invite:
        open_ones = Invitation.objects.of_organization(actor.organization).unanswered().select_related("invited_by")
        context["invitations"] = [(one, one.is_open(at)) for one in open_ones.order_by("-id")[:MEMBERS_ON_A_PAGE]]
    is_faulty = form is not None and form.is_bound
    return render(request, "accounts/members.html", context, status=422 if is_faulty else 200)


@methods
def member(request: HttpRequest, id: UUID) -> HttpResponse:
    """One member; another role for them."""
    actor = actor_of(request)
    place = _find(actor, id)
    if request.method == "POST":
        services.require_right(actor.role, "members.change")
    form = None
    if may_change(actor, place):
        form = RoleForm(
            request.POST if request.method == "POST" else None,
            place=place,
            with_owner=role_may(actor.role, "owners.change") and actor.organization.personal_owner_id is None,
        )
    if form is not None and form.is_bound and form.is_valid():
        changed = services.change_role(membership=place, role=form.cleaned_data["role"], by=actor.user)
        text = _("%(name)s is now: %(role)s.")
        messages.success(request, text % {"name": place.user.name, "role": changed.get_role_display()})
        return redirect("members")
    if request.method == "POST" and form is None:
        services.change_role(membership=place, role=request.POST.get("role", place.role), by=actor.user)  # says why not
    context = {"row": _row(actor, place), "place": place, "form": form, "organization": actor.organization}
    return render(request, "accounts/member.html", context, status=422 if request.method == "POST" else 200)


@methods
def remove(request: HttpRequest, id: UUID) -> HttpResponse:
    """Ask, then take somebody out of the organization."""
    actor = actor_of(request)
    place = _find(actor, id)
    services.require_right(actor.role, "members.change")
    if request.method == "POST":
        services.remove_member(membership=place, by=actor.user)
        text = _("%(name)s is no longer in %(organization)s.")
        messages.success(request, text % {"name": place.user.name, "organization": actor.organization.name})
        return redirect("members")
    context = {"row": _row(actor, place), "organization": actor.organization}
    return render(request, "accounts/remove.html", context)


@methods
def leave(request: HttpRequest) -> HttpResponse:
    """Ask, then leave the organization. The session goes on for the personal one."""
    actor = actor_of(request)
    mine = _find(actor, services.find_membership(organization=actor.organization, user=actor.user).pk)
    if request.method == "POST":
        services.leave_organization(organization=actor.organization, user=actor.user)
        request.session.pop(SESSION_ORGANIZATION, None)
        messages.success(request, _("You left %(name)s.") % {"name": actor.organization.name})
        return redirect("home")
    context = {"row": _row(actor, mine), "organization": actor.organization, "may_leave": may_leave(actor)}
    return render(request, "accounts/leave.html", context)


@methods
def transfer(request: HttpRequest) -> HttpResponse:
    """Ask to whom, then hand the organization over."""
    actor = actor_of(request)
    services.require_right(actor.role, "owners.change")
    active = Membership.objects.of_organization(actor.organization).filter(user__is_active=True)
    others = active.exclude(role=Membership.Role.OWNER)
    form = TransferForm(request.POST if request.method == "POST" else None, others=others)
    if form.is_bound and form.is_valid():
        to = form.cleaned_data["member"]
        services.transfer_ownership(organization=actor.organization, by=actor.user, to=to)
        text = _("%(name)s owns %(organization)s now.")
        messages.success(request, text % {"name": to.user.name, "organization": actor.organization.name})
        return redirect("members")
    context = {
        "form": form,
        "organization": actor.organization,
        "is_personal": actor.organization.personal_owner_id is not None,
        "has_others": others.exists(),
    }
    return render(request, "accounts/transfer.html", context, status=422 if form.is_bound else 200)


def may_change(actor: Actor, place: Membership) -> bool:
    """Whether the page offers it; the service decides."""
    if place.user_id == actor.organization.personal_owner_id:
        return False
    return role_may(actor.role, "owners.change" if place.role == Membership.Role.OWNER else "members.change")


def may_leave(actor: Actor) -> bool:
    """Not one's personal organization, nor one that nobody else owns."""
    if actor.organization.personal_owner_id == actor.user.pk:
        return False
    owners = Membership.objects.of_organization(actor.organization).owners().exclude(user=actor.user)
    return actor.role != Membership.Role.OWNER or owners.exists()


def may_transfer(actor: Actor) -> bool:
    return role_may(actor.role, "owners.change") and actor.organization.personal_owner_id is None


def _find(actor: Actor, id: UUID) -> Membership:
    members = Membership.objects.of_organization(actor.organization).with_keys(clock.now())
    found: Membership | None = members.filter(pk=id).first()
    if found is None:
        raise Http404
    return found


def _row(actor: Actor, place: Membership) -> Row:
    return Row(place, place.user_id == actor.user.pk, may_change(actor, place))
