"""The pages to find a model: the catalogue, and what one publisher lists."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from common.money import SYMBOLS
from common.pagination import PageQuery
from common.policy import actor_of
from common.rest import read_query
from marketplace import filters, services
from marketplace.models import AIModel, Category
from marketplace.search import Query, engine
from marketplace.serializers import ExploreQuery, query_of

PAGE_SIZE = 24
NEAREST = 3


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """Search and filters. The address holds the whole state; htmx takes what changes with it (`#part`) alone."""
    given = filters.clean(request.GET)
    params = read_query(ExploreQuery, given)
    organization = actor_of(request).organization
    query = query_of(params, own_slug=organization.slug if organization else "")
    found = engine().find(query, limit=PAGE_SIZE, cursor=params.get("cursor"), facets=True, total=True)
    listed = AIModel.objects.visible_to(organization).in_order(found.ids)
    nearest = engine().nearest(query.text, limit=NEAREST) if query.text and not listed else []
    chips = list(filters.chips(request.path, given, query))
    is_part = request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers
    context = {
        "is_part": is_part,
        "query": query,
        "price_max": given.get("price_max", ""),
        "currency": SYMBOLS.get(settings.CURRENCY, settings.CURRENCY),
        "models": listed,
        "is_table": params["view"] == "table",
        "total": found.total,
        "total_words": filters.total_words(found),
        "corrected": found.corrected,
        "partly": found.partly,
        "price_bands": filters.price_bands(request.path, given, found),
        "pages": filters.pages(request.path, given, found),
        "kept": [(name, given[name]) for name in ("q", "sort", "view") if name in given],
        "facets": filters.groups(query, found),
        "chips": chips,
        "filter_count": sum(not chip["text"] for chip in chips),
        "all": filters.address(request.path, filters.only(given, "sort", "view")),
        "sorts": filters.choices(request.path, given, "sort", filters.SORTS),
        "views": filters.choices(request.path, given, "view", filters.VIEWS),
        "nearest": AIModel.objects.in_order(nearest) if nearest else [],
    }
    response = render(request, f"marketplace/models.html{'#part' if is_part else ''}", context)
    if is_part:
        response.headers["HX-Push-Url"] = filters.address(request.path, given)  # without the fields left empty
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_safe
def publisher(request: HttpRequest, slug: str) -> HttpResponse:
    """An organization as publisher, and what it lists. Raises NotFound where there is nothing to see."""
    organization = services.find_publisher(slug, user=actor_of(request).user)
    params = read_query(PageQuery, request.GET)
    found = engine().find(
        Query(publisher=[organization.slug]), limit=PAGE_SIZE, cursor=params.get("cursor"), total=True
    )
    tasks = list(AIModel.objects.published().owned_by(organization).by_task())
    reviews, stars = (sum(task[name] for task in tasks) for name in ("reviews", "stars"))
    count = sum(task["models"] for task in tasks)
    cells = [
        {"label": _("Models"), "value": number_format(count, force_grouping=True)},
        {"label": _("Mean rating"), "value": number_format(stars / reviews, 1), "unit": _("of 5")} if reviews else None,
        {"label": _("Reviews"), "value": number_format(reviews, force_grouping=True)},
        {"label": _("Member since"), "value": date_format(organization.created_at, "M Y")},
    ]
    context = {
        "publisher": organization,
        "count": count,
        "cells": [cell for cell in cells if cell is not None],
        "tasks": [(task["category"], Category(task["category"]).label, task["models"]) for task in tasks],
        "models": AIModel.objects.published().in_order(found.ids),
        "pages": filters.pages(request.path, filters.clean(request.GET), found),
        "crumbs": [{"label": _("Models"), "href": reverse("models")}, {"label": organization.slug}],
    }
    return render(request, "marketplace/publisher.html", context)
