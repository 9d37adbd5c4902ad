"""The pages of one model, a tab each."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import role_may
from common.pagination import PageQuery, paginate
from common.policy import actor_of
from common.problems import NotFound
from common.rest import read_query
from marketplace import services
from marketplace.models import AIModel
from marketplace.services.differences import changes_between
from marketplace.services.sections import card_of, outline

PAGE_SIZE = 24
RELATED = 3
TWIN = ".md"


@require_safe
def model(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """One model: what it is, what it costs and how well it runs; with `.md` behind its name as Markdown.

    A model whose name ends so itself is found by it. Raises NotFound.
    """
    try:
        ai_model = find_model(request, publisher, slug)
    except NotFound:
        if not slug.endswith(TWIN):
            raise
        ai_model = find_model(request, publisher, slug.removesuffix(TWIN))
        return _as_markdown(request, "marketplace/model.md", {"ai_model": ai_model, "card": card_of(ai_model)})
    actor = actor_of(request)
    is_own = actor.organization == ai_model.publisher and role_may(actor.role, "models.publish")
    card = card_of(ai_model)
    context = {
        "ai_model": ai_model,
        "card": card,
        "models_of_publisher": AIModel.objects.published().owned_by(ai_model.publisher).count(),
        "related": AIModel.objects.related_to(ai_model, RELATED),
        "is_own": is_own,
        "outline": outline(card) if is_own else "",
    }
    return render(request, "marketplace/model.html", context)


@require_safe
def model_api(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """How a model is called: its addresses, what goes in, what comes out, what can go wrong. Raises NotFound."""
    return render(request, "marketplace/api.html", {"ai_model": find_model(request, publisher, slug)})


@require_safe
def model_api_markdown(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """The same as Markdown. Raises NotFound."""
    return _as_markdown(request, "marketplace/api.md", {"ai_model": find_model(request, publisher, slug)})


@require_safe
def model_versions_markdown(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """The latest versions with their notes, as Markdown. Raises NotFound."""
    ai_model = find_model(request, publisher, slug)
    actor = actor_of(request)
    versions = ai_model.versions.visible_to(actor.organization, sees_all=actor.may(services.SEE_ALL))
    shown = versions.defer("input_schema", "output_schema").order_by("-id")[:PAGE_SIZE]
    return _as_markdown(request, "marketplace/versions.md", {"ai_model": ai_model, "versions": shown})


def _as_markdown(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    return render(request, template, context, content_type="text/markdown; charset=utf-8")


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
