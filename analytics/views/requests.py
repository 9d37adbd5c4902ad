"""The request log."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from analytics.forms import Address, read_id, read_selection, read_span
from analytics.querysets import ERROR, OK, RUNNING, listed, made, page_of
from analytics.views.filters import key_names, key_options, model_names, parameters, range_links
from common import clock
from common.ids import encode
from common.policy import actor_of
from gateway.models import Invocation
from marketplace.models import AIModel, Category

PAGE_SIZE = 30
#: The models and errors of so many calls are offered as filters; others are reached from the usage page.
OFFERED_FROM = 500
STATUSES = {OK: gettext_lazy("Answered"), ERROR: gettext_lazy("Failed"), RUNNING: gettext_lazy("Under way")}


@require_safe
def requests_page(request: HttpRequest) -> HttpResponse:
    """The organization's calls, newest first; the id of one goes straight to it."""
    organization = actor_of(request).organization
    asked = request.GET
    sought = asked.get("id", "").strip()
    mine = Invocation.objects.of_organization(organization)
    if (id := read_id("req", sought)) and mine.filter(pk=id).exists():
        return redirect("request", id)
    span, dates = read_span(asked, now=clock.now(), zone=ZoneInfo(organization.time_zone))
    selection = read_selection(asked)
    given = parameters(span, selection, dates)
    page = Address(reverse("requests"), given | ({"status": selection.status} if selection.status else {}))
    calls = made(organization, span.period)
    recent = list(calls.order_by("-id").values_list("ai_model_id", "error_code")[:OFFERED_FROM])
    shown = page_of(
        listed(selection.of(calls)),
        before=read_id("req", asked.get("before")),
        after=read_id("req", asked.get("after")),
        size=PAGE_SIZE,
    )
    named = {id for id, _code in recent}
    if selection.model and AIModel.objects.visible_to(organization).filter(pk=selection.model).exists():
        named.add(selection.model)  # whoever asks for somebody's draft by its id is not told its name
    models = model_names(named)
    codes = sorted({code for _id, code in recent if code} | ({selection.status} if selection.status else set()))
    is_new = not recent and not mine.exists()
    context = {
        "page": page,
        "span": span,
        "dates": dates,
        "time_zone": organization.time_zone,
        "ranges": range_links(page, span, dates),
        "models": options({encode("mdl", id): name for id, name in models.items()}, given.get("model", "")),
        "keys": options(key_options(key_names(organization)), given.get("key", "")),
        "statuses": options({**STATUSES, **{code: code for code in codes if code not in STATUSES}}, selection.status),
        "filters": sum(name in page.parameters for name in ("model", "key", "status")),
        "calls": shown.calls,
        "newer": page.link(after=encode("req", shown.newer)) if shown.newer else "",
        "older": page.link(before=encode("req", shown.older)) if shown.older else "",
        "sought": sought,
        "is_new": is_new,
        "example": example() if is_new else None,
        "usage": Address(reverse("usage"), {name: value for name, value in given.items() if name != "status"}).link(),
    }
    return render(request, "analytics/requests.html", context, status=422 if dates.errors else 200)


def options(words: dict[str, Any], chosen: str) -> list[dict[str, Any]]:
    """The options of a select; a choice that is not offered stands under its own name."""
    known = words if not chosen or chosen in words else {**words, chosen: chosen}
    return [{"value": value, "label": label, "chosen": value == chosen} for value, label in known.items()]


def example() -> dict[str, str]:
    """A model to make the first call with: the one that is called most."""
    model = AIModel.objects.published().filter(is_callable=True).select_related("publisher").order_by("-popularity")[:1]
    for one in model.only("slug", "category", "publisher__slug"):
        return {"slug": f"{one.publisher.slug}/{one.slug}", "category": one.category}
    return {"slug": "publisher/model", "category": Category.CHAT}
