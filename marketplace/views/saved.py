"""The models that somebody wants to find again."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from common.pagination import PageQuery, paginate
from common.policy import actor_of
from common.rest import read_query
from marketplace import services
from marketplace.models import AIModel, SavedModel
from marketplace.views.reading import find_model

PAGE_SIZE = 24


@require_safe
def saved(request: HttpRequest) -> HttpResponse:
    """The latest first."""
    actor = actor_of(request)
    seen = AIModel.objects.visible_to(actor.organization)
    cursor = read_query(PageQuery, request.GET).get("cursor")
    rows = SavedModel.objects.filter(user=actor.user, ai_model__in=seen)
    page = paginate(rows, order=["-id"], limit=PAGE_SIZE, cursor=cursor)
    models = AIModel.objects.in_order([row.ai_model_id for row in page["data"]])
    context = {"models": models, "page": page, "is_first": cursor is None}
    return render(request, "marketplace/saved.html", context)


@require_POST
def save(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """Put a model on the list, or with `act=remove` take it off. Leads back to where the button was."""
    ai_model, user = find_model(request, publisher, slug), actor_of(request).user
    if request.POST.get("act") == "remove":
        services.unsave_model(ai_model=ai_model, user=user)
        messages.success(request, _("“%(name)s” is off your list.") % {"name": ai_model.name})
    else:
        services.save_model(ai_model=ai_model, user=user)
        messages.success(request, _("“%(name)s” is on your list.") % {"name": ai_model.name})
    back = request.POST.get("next", "")
    is_ours = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back) if is_ours else redirect("model", publisher, slug)
