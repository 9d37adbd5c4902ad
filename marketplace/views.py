"""The pages of the catalogue: explore, and a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from common.policy import actor_of
from common.rest import read_query
from marketplace import services
from marketplace.models import AIModel, Category, Price
from marketplace.search import FACETS, MAX_TOTAL, Count, Facet, Found, Query, engine
from marketplace.serializers import SearchQuery, query_of

PAGE_SIZE = 24
SORTS = {
    "relevance": gettext_lazy("Best match"),
    "popular": gettext_lazy("Most used"),
    "rating": gettext_lazy("Rating"),
    "newest": gettext_lazy("Newest"),
    "price": gettext_lazy("Price"),
}
FACET_LABELS: dict[Facet, Any] = {
    "category": gettext_lazy("Task"),
    "pricing": gettext_lazy("Price"),
    "capability": gettext_lazy("Supports"),
    "publisher": gettext_lazy("Publisher"),
}
OPEN_FACETS = ("category", "pricing", "capability")
SHOWN_PARAMETERS = (*FACETS, "q", "min_rating", "price_max", "sort", "cursor")


@dataclass(frozen=True, slots=True)
class Option:
    """A value of a facet as a checkbox."""

    id: str
    value: str
    label: str
    count: int
    is_chosen: bool


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """Search and filters. The address holds the whole state; htmx takes the part called `results` alone."""
    given = _without_empty(request.GET)
    params = read_query(SearchQuery, given)
    organization = actor_of(request).organization
    query = query_of(params, own_slug=organization.slug if organization else "")
    found = engine().find(query, limit=PAGE_SIZE, cursor=params.get("cursor"), facets=True, total=True)
    address = reverse("models")
    without_cursor = _changed(given, cursor=None)
    context = {
        "query": query,
        "price_max": given.get("price_max", ""),
        "min_rating": given.get("min_rating", ""),
        "models": AIModel.objects.in_order(found.ids),
        "found": found,
        "total": _total_words(found),
        "facets": [_facet(facet, query, found) for facet in FACET_LABELS],
        "chips": list(_chips(given, query)),
        "sorts": [
            {
                "label": label,
                "href": f"{address}?{_changed(without_cursor, sort=sort).urlencode()}",
                "current": query.sort == sort,
            }
            for sort, label in SORTS.items()
        ],
        "start": f"{address}?{without_cursor.urlencode()}" if "cursor" in given else "",
        "next": f"{address}?{_changed(given, cursor=found.next_cursor).urlencode()}" if found.next_cursor else "",
    }
    is_part = request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers
    response = render(request, f"marketplace/models.html{'#results' if is_part else ''}", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_safe
def model(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """One model: what it is, what it costs, how to call it, and a form to try it. Raises NotFound."""
    actor = actor_of(request)
    ai_model = services.find_model(f"{publisher}:{slug}", organization=actor.organization, sees_all=actor.is_staff)
    return render(request, "marketplace/model.html", {"ai_model": ai_model})


def _without_empty(given: QueryDict) -> QueryDict:
    """What a form sends for fields that were left empty is no filter."""
    kept = QueryDict(mutable=True)
    for name, texts in given.lists():
        if values := [text for text in texts if text]:
            kept.setlist(name, values)
    return kept


def _changed(given: QueryDict, **values: str | None) -> QueryDict:
    changed = given.copy()
    for name, value in values.items():
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    return changed


def _total_words(found: Found) -> str:
    if found.total is None or found.total > MAX_TOTAL:
        return _("More than %(count)d models") % {"count": MAX_TOTAL}
    return _("1 model") if found.total == 1 else _("%(count)d models") % {"count": found.total}


def _chosen(query: Query, facet: Facet) -> Iterable[str]:
    value = getattr(query, facet)
    return [value] if isinstance(value, str) and value else value


def _facet(facet: Facet, query: Query, found: Found) -> dict[str, Any]:
    chosen = list(_chosen(query, facet))
    counts = list(found.facets[facet])
    known = {count.value for count in counts}
    counts += [Count(value, 0) for value in chosen if value not in known]
    options = [
        Option(f"{facet}-{number}", count.value, _value_label(facet, count.value), count.count, count.value in chosen)
        for number, count in enumerate(counts)
    ]
    return {
        "name": facet,
        "label": FACET_LABELS[facet],
        "options": options,
        "is_open": facet in OPEN_FACETS or bool(chosen),
        "is_single": facet == "pricing",
    }


def _value_label(facet: Facet, value: str) -> str:
    match facet:
        case "category" if value in Category.values:
            return str(Category(value).label)
        case "pricing" if value in Price.Type.values:
            return str(Price.Type(value).label)
        case _:
            return value


def _chips(given: QueryDict, query: Query) -> Iterable[dict[str, str]]:
    """What narrows the list, each with the address without it."""

    def chip(label: str, name: str, value: str) -> dict[str, str]:
        rest = _changed(given, cursor=None)
        if left := [text for text in rest.getlist(name) if text != value]:
            rest.setlist(name, left)
        else:
            rest.pop(name, None)
        return {"label": label, "href": f"{reverse('models')}?{rest.urlencode()}"}

    if query.text:
        yield chip(f"“{query.text}”", "q", given.get("q", ""))
    for facet in FACET_LABELS:
        for value in given.getlist(facet):
            yield chip(_value_label(facet, value), facet, value)
    if rating := given.get("min_rating"):
        yield chip(_("Rated %(rating)s or better") % {"rating": rating}, "min_rating", rating)
    if price := given.get("price_max"):
        yield chip(_("Up to %(price)s") % {"price": price}, "price_max", price)
