"""The pages of one model, a tab each."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from common.pagination import PageQuery, paginate
from common.policy import actor_of
from common.rest import read_query
from marketplace import services
from marketplace.models import AIModel
from marketplace.services.differences import changes_between

PAGE_SIZE = 24


@require_safe
def model(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """One model: what it is, what it costs and how well it runs. Raises NotFound."""
    ai_model = find_model(request, publisher, slug)
    published = AIModel.objects.published().owned_by(ai_model.publisher).count()
    return render(request, "marketplace/model.html", {"ai_model": ai_model, "models_of_publisher": published})


@require_safe
def model_api(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """How a model is called: its addresses, what goes in, what comes out, what can go wrong. Raises NotFound."""
    return render(request, "marketplace/api.html", {"ai_model": find_model(request, publisher, slug)})


@require_safe
def model_versions(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """The versions of a model, the newest first; unpublished ones for its publisher. Raises NotFound."""
    ai_model = find_model(request, publisher, slug)
    actor = actor_of(request)
    versions = ai_model.versions.visible_to(actor.organization, sees_all=actor.may(services.SEE_ALL))
    given = request.GET.copy()
    compared = given.pop("compare", [""])[-1]
    page = paginate(
        versions.defer("input_schema", "output_schema"),
        order=["-id"],
        limit=PAGE_SIZE,
        cursor=read_query(PageQuery, given).get("cursor"),
    )
    context = {"ai_model": ai_model, "page": page, "comparison": _comparison(versions, compared)}
    return render(request, "marketplace/versions.html", context)


def _comparison(versions: Any, number: str) -> dict[str, Any] | None:
    """A version beside the one before it; None unless both are there to be seen."""
    new = versions.filter(version=number).first() if number else None
    old = None if new is None else versions.filter(pk__lt=new.pk).order_by("-pk").first()
    if new is None or old is None:
        return None
    changes = changes_between(old, new)
    return {"old": old, "new": new, "changes": changes, "breaking": sum(change.is_breaking for change in changes)}


def find_model(request: HttpRequest, publisher: str, slug: str) -> AIModel:
    """The model of an address, for whoever may see it. Raises NotFound."""
    actor = actor_of(request)
    return services.find_model(
        f"{publisher}:{slug}", organization=actor.organization, sees_all=actor.may(services.SEE_ALL)
    )
