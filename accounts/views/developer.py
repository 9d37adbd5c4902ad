"""The page on which one asks to publish models, and reads what came of it."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.forms import DeveloperForm
from accounts.models import User, role_may
from common.policy import actor_of


@require_http_methods(["GET", "HEAD", "POST"])
def developer(request: HttpRequest) -> HttpResponse:
    """What it means, the request with a sentence why, and its state."""
    actor = actor_of(request)
    user = actor.user
    asked = services.latest_request_of(user)
    is_open = asked is not None and not asked.decision
    form = DeveloperForm(request.POST or None, initial={"reason": asked.reason if asked and is_open else ""})
    may_publish = user.role != User.PlatformRole.CONSUMER
    if request.method == "POST" and not may_publish and form.is_valid():
        services.request_developer_role(user=user, reason=form.cleaned_data["reason"])
        if user.role != User.PlatformRole.CONSUMER:
            messages.success(request, _("You may publish models now."))
        else:
            messages.success(request, _("Your request is with the people who run this site. They answer by mail."))
        return redirect("developer")
    context = {
        "form": form,
        "asked": asked,
        "is_open": is_open,
        "may_publish": may_publish,
        "may_publish_here": role_may(actor.role, "models.publish"),
        "organization": actor.organization,
        "is_automatic": settings.DEVELOPER_APPROVAL == "automatic",
    }
    return render(request, "accounts/developer.html", context, status=422 if form.errors else 200)
