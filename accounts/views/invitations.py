"""Invitations: sent again or taken back by those who invite, answered by those who are invited."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from accounts import services
from accounts.errors import InvitationInvalid
from accounts.models import Invitation
from common.policy import SESSION_ORGANIZATION, actor_of, to_login


@require_POST
def change_invitation(request: HttpRequest, id: UUID) -> HttpResponse:
    """Send it again, or take it back."""
    actor = actor_of(request)
    services.require_right(actor.role, "members.invite")
    unanswered = Invitation.objects.of_organization(actor.organization).unanswered()
    found: Invitation | None = unanswered.select_related("organization").filter(pk=id).first()
    if found is None:
        raise Http404
    if request.POST.get("act") == "revoke":
        services.revoke_invitation(invitation=found, by=actor.user)
        messages.success(request, _("The invitation to %(email)s is taken back.") % {"email": found.email})
    else:
        services.resend_invitation(invitation=found, by=actor.user)
        messages.success(request, _("A fresh link is on its way to %(email)s.") % {"email": found.email})
    return redirect("members")


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("token")
def answer_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Who invites to what. An account of the address accepts or declines; others learn how to get there."""
    user = request.user
    if request.method == "POST":
        if isinstance(user, AnonymousUser):
            return to_login(request)
        if request.POST.get("act") == "decline":
            services.decline_invitation(user=user, token=token)
            messages.success(request, _("You declined the invitation."))
            return redirect("home")
        place = services.accept_invitation(user=user, token=token)
        request.session[SESSION_ORGANIZATION] = place.organization.public_id
        messages.success(request, _("You are in %(name)s, and act for it now.") % {"name": place.organization.name})
        return redirect("members")
    found = services.find_invitation(token)
    if found is None:
        raise InvitationInvalid()
    is_theirs = not isinstance(user, AnonymousUser) and services.is_verified(user, found.email)
    context = {"invitation": found, "is_theirs": is_theirs, "token": token}
    response = render(request, "accounts/invitation.html", context)
    response.headers["Cache-Control"] = "no-store"
    # The address is a secret, if a small one: no other site is told it. `no-referrer` would also hide from this one
    # where the form came from, and the answer would be refused as forged.
    response.headers["Referrer-Policy"] = "same-origin"
    return response
