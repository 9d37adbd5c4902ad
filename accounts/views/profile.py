"""The page about oneself."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.forms import ProfileForm
from accounts.models import Membership, role_may
from common.policy import actor_of


@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Name of the person; name of the organization, for those who run it."""
    actor = actor_of(request)
    may_change = role_may(actor.role, "organization.change")
    form = ProfileForm(
        request.POST if request.method == "POST" else None,
        user=actor.user,
        organization=actor.organization,
        may_change_organization=may_change,
    )
    if request.method == "POST" and form.is_valid():
        services.update_profile(user=actor.user, name=form.cleaned_data["name"])
        if may_change:
            name = form.cleaned_data["organization_name"]
            services.update_organization(organization=actor.organization, name=name)
        messages.success(request, _("Your profile is saved."))
        return redirect("profile")
    status = 422 if form.is_bound else 200
    context = {"form": form, "actor": actor, "role": Membership.Role(actor.role or "").label}
    return render(request, "accounts/profile.html", context, status=status)
