"""The start page of people who signed in: what is to be done, the month so far, and what asks for attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from allauth.mfa.utils import is_mfa_enabled
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from accounts import services as accounts
from accounts.models import Budget, Organization, User
from analytics.querysets import (
    ANSWERED,
    ERROR,
    EVERYTHING,
    Figures,
    Percentile,
    Period,
    by_model_and_time,
    listed,
    made,
    page_of,
)
from analytics.views.limits import Limit, budget_words
from analytics.views.tiles import summed
from apikeys.models import APIKey
from billing import services as billing
from common import clock
from common.ids import encode
from common.policy import Actor, actor_of
from config.preferences import remember
from gateway.models import Invocation
from gateway.services.echo import ECHO_ID
from marketplace.models import MIN_SAMPLES, AIModel

DAYS = 14  # of the small lines
SHOWN_MODELS = 8
LATEST_CALLS = 5
NEARLY = 80  # percent of a limit
SOON = timedelta(days=14)
MANY_ERRORS = 10  # percent of a day's requests, of which there must be so many:
ENOUGH_REQUESTS = 20
POOR_UPTIME_BP = 9900  # hundredths of a percent, of the last three days
CHECKLIST = "checklist"  # the cookies that say "off"
PASSKEY_OFFER = "passkey_offer"


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that asks for attention. tone: "bad" when it stops requests, else "warn"."""

    tone: str
    text: str
    href: str
    link: str


def overview(request: HttpRequest) -> HttpResponse:
    """The figures are of the organization's month, in its own time zone; each is a link to the calls behind it."""
    actor = actor_of(request)
    organization = actor.organization
    billing.ensure_account(organization)
    now, zone = clock.now(), ZoneInfo(organization.time_zone)
    timezone.activate(zone)  # until the middleware takes it back: this page has an address that is everybody's
    today = datetime.combine(now.astimezone(zone).date(), time.min, tzinfo=zone)
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    month = today.replace(day=1)
    period = Period(min(days[0], month), now, zone)
    buckets = by_model_and_time(organization, period, EVERYTHING)
    keys = list(APIKey.objects.of_organization(organization).usable(now).only("id", "name", "mode", "expires_at"))
    budgets = accounts.current_budgets([organization.id, *(key.id for key in keys if key.mode == APIKey.Mode.LIVE)])
    models = AIModel.objects.in_order(list({row["ai_model_id"] for row in buckets}))
    in_month = [row for row in buckets if row["start"] >= month]
    of_today = summed(row for row in buckets if row["start"] >= today)
    own = [budget for budget in budgets if budget.subject_id == organization.id]
    tightest = min(own, key=lambda budget: (budget.left, budget.limit), default=None)
    concerns = [
        *limits_near(budgets, keys),
        *keys_expiring(keys, now),
        *models_failing(models, organization),
        *errors_of(of_today),
    ]
    context = {
        "steps": steps(request, actor, has_key=bool(keys), has_called=bool(buckets), budgets=budgets),
        "offers_passkey": request.COOKIES.get(PASSKEY_OFFER) != "off"
        and accounts.comes_back_without_passkey(actor.user),
        "figures": summed(in_month),
        "today": of_today,
        "calls_by_day": by_day(buckets, days, "calls"),
        "errors_by_day": by_day(buckets, days, "errors"),
        "limit": Limit(tightest, budget_words(tightest)) if tightest and tightest.limit else None,
        "speed": speed(organization, Period(month, now, zone)),
        "min_samples": MIN_SAMPLES,
        "rows": model_rows(models, organization, in_month, buckets, today, days),
        "concerns": sorted(concerns, key=lambda concern: concern.tone),
        "latest": page_of(listed(made(organization, period)), size=LATEST_CALLS).calls,
        "has_demo_calls": any(row["is_made_up"] for row in in_month),
        "month": {"from": f"{month:%Y-%m-%d}", "to": f"{today:%Y-%m-%d}"},
        "time_zone": organization.time_zone,
    }
    return render(request, "config/overview.html", context)


@require_POST
def put_away(request: HttpRequest) -> HttpResponse:
    """Put the first steps away in this browser, or the offer of a passkey."""
    response = redirect("home")
    remember(response, PASSKEY_OFFER if request.POST.get("what") == "passkey" else CHECKLIST, "off")
    return response


# --- The first steps: found out, not ticked off ---


def steps(
    request: HttpRequest, actor: Actor, *, has_key: bool, has_called: bool, budgets: Sequence[Budget]
) -> list[dict[str, Any]]:
    """The first steps as `components/steps.html` shows them; nothing once all are done or they were put away."""
    if request.COOKIES.get(CHECKLIST) == "off":
        return []
    user: User = actor.user
    has_called = has_called or Invocation.objects.of_organization(actor.organization).exists()
    found = [
        _step(
            _("Confirm your e-mail address"),
            _("Receipts and warnings go there."),
            accounts.is_verified(user, user.email),
            reverse("account_email"),
            _("Confirm it"),
        ),
        _step(
            _("Make a key"),
            _("A program calls models with it."),
            has_key,
            reverse("keys"),
            _("Make a key"),
        ),
        _step(
            _("Send the first request"),
            _("Each model’s page has the lines to copy, and a form to try it. The request is noticed here."),
            has_called,
            reverse("models"),
            _("Find a model"),
        ),
        _step(
            _("Set a spend limit"),
            _("Requests stop at it; you are never charged more."),
            any(budget.purpose == Budget.Purpose.SPEND_LIMIT for budget in budgets),
            reverse("keys"),
            _("Limit a key"),
        ),
        _step(
            _("Add a second factor"),
            _("Then a password that leaks opens nothing."),
            is_mfa_enabled(user),
            reverse("mfa_index"),
            _("Set it up"),
        ),
    ]
    undone = [step for step in found if "href" in step]
    for step in undone[1:]:  # one thing at a time has a button
        del step["href"]
    return found if undone else []


def _step(title: str, text: str, is_done: bool, href: str, link: str) -> dict[str, Any]:
    if is_done:
        return {"title": title, "state": "done"}
    return {"title": title, "text": text, "href": href, "link": link}


# --- Figures ---


def by_day(buckets: Iterable[Mapping[str, Any]], days: Sequence[datetime], name: str) -> list[int]:
    """The sum of a figure on each of these days."""
    found = dict.fromkeys((day.date() for day in days), 0)
    for row in buckets:
        day = row["start"].astimezone(days[0].tzinfo).date()
        if day in found:
            found[day] += row[name]
    return list(found.values())


def speed(organization: Organization, period: Period) -> dict[str, Any]:
    """The medians of a period's answered calls; of a few they say nothing, and are None."""
    streamed = ANSWERED & Q(first_token_ms__isnull=False)
    found: dict[str, Any] = (
        made(organization, period)
        .final()
        .aggregate(
            streamed=Count("id", filter=streamed),
            answered=Count("id", filter=ANSWERED),
            first_token=Percentile("first_token_ms", 0.5, filter=streamed),
            latency=Percentile("latency_ms", 0.5, filter=ANSWERED),
        )
    )
    if found["streamed"] < MIN_SAMPLES:
        found["first_token"] = None
    if found["answered"] < MIN_SAMPLES:
        found["latency"] = None
    return found


def model_rows(
    models: Iterable[AIModel],
    organization: Organization,
    in_month: Sequence[Mapping[str, Any]],
    buckets: Sequence[Mapping[str, Any]],
    today: datetime,
    days: Sequence[datetime],
) -> list[dict[str, Any]]:
    """The models of the month, the dearest first."""
    rows: list[dict[str, Any]] = []
    for ai_model in models:
        own = [row for row in buckets if row["ai_model_id"] == ai_model.id]
        figures = summed(row for row in in_month if row["ai_model_id"] == ai_model.id)
        if not figures["calls"]:
            continue
        calls = by_day(own, days, "calls")
        words = _("Requests a day, the last %(days)d days: %(least)d to %(most)d")
        rows.append(
            {
                "ai_model": ai_model,
                "ref": encode("mdl", ai_model.id),
                "has_page": ai_model.has_page_for(organization.id),
                "calls_today": summed(row for row in own if row["start"] >= today)["calls"],
                "figures": figures,
                "by_day": calls,
                "trend": words % {"days": len(days), "least": min(calls), "most": max(calls)},
            }
        )
    rows.sort(key=lambda row: (-row["figures"]["cost_nano"], -row["figures"]["calls"]))
    return rows[:SHOWN_MODELS]


# --- What asks for attention ---


def limits_near(budgets: Iterable[Budget], keys: Iterable[APIKey]) -> list[Concern]:
    """Limits of which four fifths are gone, what calls under way hold included."""
    names: dict[UUID, APIKey] = {key.id: key for key in keys}
    found = []
    for budget in budgets:
        is_ungiven = budget.purpose == Budget.Purpose.CREDIT and not budget.limit
        if is_ungiven or (budget.spent + budget.held) * 100 < budget.limit * NEARLY:
            continue
        key = names.get(budget.subject_id)
        href = reverse("key", args=[key.id]) + "#id_spend_limit" if key else reverse("usage")
        link = _("Raise limit") if key else _("See usage")
        tone = "warn" if budget.left else "bad"
        found.append(Concern(tone, budget_words(budget, key.name if key else ""), href, link))
    return found


def keys_expiring(keys: Iterable[APIKey], now: datetime) -> list[Concern]:
    found = []
    for key in keys:
        if key.expires_at is None or key.expires_at - now > SOON:
            continue
        days = (key.expires_at - now).days
        text = (
            ngettext(
                "The key “%(name)s” expires in %(days)d day.", "The key “%(name)s” expires in %(days)d days.", days
            )
            if days
            else _("The key “%(name)s” expires within a day.")
        )
        href = reverse("key", args=[key.id]) + "#change"
        found.append(Concern("warn", text % {"name": key.name, "days": days}, href, _("Extend it")))
    return found


def models_failing(models: Iterable[AIModel], organization: Organization) -> list[Concern]:
    """Models called lately that cannot be called any more, will go, or fail often."""
    found = []
    for ai_model in models:
        if ai_model.id == ECHO_ID:  # in no catalogue, and always there
            continue
        name = f"{ai_model.publisher.slug}/{ai_model.slug}"
        measurement = getattr(ai_model, "measurement", None)
        uptime = measurement.recent_uptime_bp if measurement else None
        has_page = ai_model.has_page_for(organization.id)
        if not has_page or not ai_model.is_callable:
            tone, text = "bad", _("%(model)s cannot be called at the moment.")
        elif ai_model.status == AIModel.Status.DEPRECATED:
            tone, text = "warn", _("%(model)s is deprecated: its publisher will take it away.")
        elif uptime is not None and uptime < POOR_UPTIME_BP:
            tone, text = "warn", _("%(model)s failed often in the last three days.")
        else:
            continue
        href, link = f"{reverse('requests')}?model={encode('mdl', ai_model.id)}", _("See the requests")
        if has_page:
            href, link = reverse("model", args=[ai_model.publisher.slug, ai_model.slug]), _("See the model")
        found.append(Concern(tone, text % {"model": name}, href, link))
    return found


def errors_of(today: Figures) -> list[Concern]:
    """A day on which many requests fail."""
    if today["calls"] < ENOUGH_REQUESTS or today["errors"] * 100 < today["calls"] * MANY_ERRORS:
        return []
    percent = today["errors"] * 100 // today["calls"]
    text = _("%(percent)d%% of today’s requests failed.") % {"percent": percent}
    return [Concern("warn", text, f"{reverse('requests')}?range=24h&status={ERROR}", _("See them"))]
