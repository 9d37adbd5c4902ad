"""The usage page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.models import Budget
from accounts.services import current_budgets
from analytics.querysets import Period, totals, usage
from billing.services import ensure_account
from common import clock
from common.money import display, to_decimal
from common.policy import actor_of
from gateway.models import Invocation

RANGES = {"24h": ("hour", timedelta(hours=24)), "7d": ("day", timedelta(days=7)), "30d": ("day", timedelta(days=30))}
DEFAULT_RANGE = "30d"
GROUPS = ("model", "key", "status")
LATEST_CALLS = 10
CHARTED_MODELS = 5


@require_safe
def usage_page(request: HttpRequest) -> HttpResponse:
    """Spend, calls, errors and tokens of the organization, each number from the calls themselves."""
    organization = actor_of(request).organization
    ensure_account(organization)
    chosen, group = request.GET.get("range", ""), request.GET.get("by", "")
    chosen = chosen if chosen in RANGES else DEFAULT_RANGE
    group = group if group in GROUPS else GROUPS[0]
    granularity, length = RANGES[chosen]
    now = clock.now()
    zone = ZoneInfo(organization.time_zone)
    period = Period(now - length, now, zone, granularity)
    whole = Period(period.start, period.end, zone, "total")
    figures = totals(organization, whole)
    calls = Invocation.objects.of_organization(organization).during(period.start, period.end)
    latest = calls.select_related("publisher", "ai_model", "api_key").order_by("-id")[:LATEST_CALLS]
    context = {
        "ranges": [(name, name == chosen) for name in RANGES],
        "range": chosen,
        "groups": [(name, name == group) for name in GROUPS],
        "group": group,
        "figures": figures,
        "rows": usage(organization, whole, [group]),
        "chart": spend_chart(organization, period),
        "latest": latest,
        "has_demo_calls": calls.filter(is_demo=True).exists(),
        "budgets": [(budget, budget_words(budget)) for budget in current_budgets([organization.id]) if budget.limit],
        "zone": organization.time_zone,
    }
    return render(request, "analytics/usage.html", context)


def budget_words(budget: Budget) -> str:
    """The line under a budget's meter: the numbers that the gateway enforces."""
    numbers = {"used": display(budget.spent, settings.CURRENCY), "limit": display(budget.limit, settings.CURRENCY)}
    if budget.purpose == Budget.Purpose.CREDIT:
        return _("%(used)s of %(limit)s credit") % numbers
    return _("%(used)s of %(limit)s spend limit (%(window)s)") % {**numbers, "window": budget.get_window_display()}


def spend_chart(organization: Any, period: Period) -> dict[str, Any]:
    """Labels and series for `{% chart %}`: spend by day or hour, the dearest models first, the rest as one."""
    starts = list(period.starts())
    labels = [date_format(start, "H:i" if period.granularity == "hour" else "j M") for start in starts]
    by_model: dict[str, dict[Any, int]] = {}
    for row in usage(organization, period, ["model"]):
        by_model.setdefault(row["model"], {})[row["start"]] = row["cost_nano"]
    dearest = sorted(by_model, key=lambda name: -sum(by_model[name].values()))
    series = [(name, by_model[name]) for name in dearest[:CHARTED_MODELS]]
    if rest := dearest[CHARTED_MODELS:]:
        series.append((_("Other"), {at: sum(by_model[name].get(at, 0) for name in rest) for at in starts}))
    total = sum(sum(values.values()) for _name, values in series)
    return {
        "labels": labels,
        "series": [(name, [float(to_decimal(values.get(at, 0))) for at in starts]) for name, values in series],
        "sentence": _("%(spend)s between %(first)s and %(last)s")
        % {"spend": display(total, settings.CURRENCY), "first": labels[0], "last": labels[-1]},
    }
