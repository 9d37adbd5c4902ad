"""Up to four models side by side. The address says which, so that it can be passed on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from rest_framework import serializers

from common.policy import actor_of
from common.problems import NotFound
from common.rest import CharField, Query, read_query
from marketplace import search, services
from marketplace.models import AIModel
from marketplace.search import engine

MOST = 4
SUGGESTED = 6


class CompareQuery(Query):
    """`model` names `publisher/slug`, several times or with commas between."""

    model = serializers.ListField(child=CharField(max_length=120), max_length=20, required=False, default=list)
    q = CharField(required=False, allow_blank=True, max_length=search.MAX_TEXT_LENGTH, default="")


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """The same rows for each. What is not found, or is one too many, is said."""
    params = read_query(CompareQuery, request.GET)
    actor = actor_of(request)
    models: list[AIModel] = []
    missing: list[str] = []
    for ref in dict.fromkeys(params["model"]):
        try:
            found = services.find_model(ref, organization=actor.organization, sees_all=actor.may(services.SEE_ALL))
        except NotFound:
            missing.append(ref)
        else:
            models += [] if found in models else [found]
    too_many, models = len(models) > MOST, models[:MOST]
    text = params["q"].strip()
    ids = engine().find(search.Query(text=text), limit=SUGGESTED + MOST).ids if text else []
    chosen = {one.pk for one in models}
    context = {
        "chosen": [{"model": one, "without": _address([other for other in models if other != one])} for one in models],
        "models": models,
        "missing": missing,
        "too_many": too_many,
        "most": MOST,
        "asked": text,
        "suggested": [
            {"model": one, "href": _address([*models, one])}
            for one in AIModel.objects.in_order([id for id in ids if id not in chosen][:SUGGESTED])
        ],
        "is_full": len(models) == MOST,
    }
    return render(request, "marketplace/compare.html", context)


def _address(models: list[AIModel]) -> str:
    pairs: list[tuple[str, Any]] = [("model", f"{one.publisher.slug}/{one.slug}") for one in models]
    return f"?{urlencode(pairs, safe='/')}"
