"""The pages that belong to no app: the start page, the choice of theme, the style guide."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from accounts import services as accounts
from accounts.models import Budget, Organization
from analytics.querysets import Period, totals, usage
from analytics.views import budget_words
from apikeys.models import APIKey
from billing import services as billing
from common import clock
from common.policy import actor_of
from config import snippets
from config.context import THEMES
from config.preferences import remember
from marketplace.models import AIModel, Category

POPULAR_MODELS = 6
TASKS = 5
USED_MODELS = 8


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What is here and how to start; for people who are logged in, where they were."""
    if request.user.is_authenticated:
        return render(request, "config/overview.html", overview(actor_of(request).organization))
    listed = AIModel.objects.published()
    popular = list(listed.detailed().order_by("-is_callable", "-popularity", "-published_at")[:POPULAR_MODELS])
    tasks = listed.values("category").annotate(models=Count("id")).order_by("-models", "category")[:TASKS]
    example = next((model for model in popular if model.is_callable), None)
    context = {
        "popular": popular,
        "tasks": [(task["category"], Category(task["category"]).label, task["models"]) for task in tasks],
        "example": example,
        "tabs": snippets.call_tabs(
            settings.SITE_URL,
            f"{example.publisher.slug}/{example.slug}" if example else "publisher/model",
            example.category if example else Category.CHAT,
        ),
    }
    return render(request, "config/home.html", context)


def overview(organization: Organization) -> dict[str, Any]:
    """The figures of the organization's month, in its own time zone, and what is still to be done."""
    billing.ensure_account(organization)
    now, zone = clock.now(), ZoneInfo(organization.time_zone)
    month = Period(month_start(now, zone), now, zone, "total")
    budgets = accounts.current_budgets([organization.id])
    limit = next((one for one in budgets if one.purpose == Budget.Purpose.SPEND_LIMIT), None)
    return {
        "totals": totals(organization, month),
        "used": usage(organization, month, ["model"])[:USED_MODELS],
        "limit": limit,
        "limit_words": budget_words(limit) if limit else "",
        "credit": next((one for one in budgets if one.purpose == Budget.Purpose.CREDIT and one.limit), None),
        "keys": APIKey.objects.of_organization(organization).usable(now).count(),
        "time_zone": organization.time_zone,
    }


def month_start(now: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of the month that `now` falls into in `zone`."""
    return now.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@require_safe
def theme(request: HttpRequest, value: str) -> HttpResponse:
    """Keep "light" or "dark" in a cookie ("auto" forgets it) and go back to where the visitor was."""
    if value not in (*THEMES, "auto"):
        raise Http404
    target = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        target = resolve_url("home")
    response = HttpResponseRedirect(target)
    remember(response, "theme", "" if value == "auto" else value)
    return response
