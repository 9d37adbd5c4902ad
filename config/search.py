"""What the search field of every page suggests while somebody types."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from accounts.models import Organization
from apikeys.models import APIKey
from common import clock
from common.policy import actor_of
from marketplace.models import AIModel
from marketplace.search import MAX_TEXT_LENGTH, Query, engine

MODELS, PUBLISHERS, KEYS, NEAREST = 5, 3, 3, 3

#: Pages by URL name: their title, and more words that lead to them.
DOCUMENTS = {
    "api:docs": (gettext_lazy("API reference"), gettext_lazy("endpoints OpenAPI schema REST documentation docs")),
    "docs-errors": (gettext_lazy("Errors"), gettext_lazy("codes status problem retry documentation docs")),
}


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Options for the search field (`components/search.html`). Without htmx it is the list of models."""
    text = request.GET.get("q", "").replace("\0", "").strip()[:MAX_TEXT_LENGTH]
    if request.headers.get("HX-Request") != "true":
        response: HttpResponse = HttpResponseRedirect(f"{reverse('models')}?{urlencode({'q': text})}")
    else:
        response = render(request, "config/search.html", suggestions(request, text))
        response.headers["Cache-Control"] = "private, no-store"  # keys are in it
    patch_vary_headers(response, ["HX-Request"])
    return response


def suggestions(request: HttpRequest, text: str) -> dict[str, Any]:
    """What fits the text, in groups; where nothing does, the nearest models."""
    query = Query(text=text)
    if not query.words:
        return {}
    found = engine().find(query, limit=MODELS)
    words = found.corrected or text
    groups = {
        "publishers": list(publishers_like(words)),
        "keys": list(keys_like(request, text)),
        "documents": documents_like(query.words),
    }
    nearest = [] if found.ids or any(groups.values()) else engine().nearest(text, limit=NEAREST)
    models = AIModel.objects.in_order(found.ids or nearest)
    count = len(models) + sum(map(len, groups.values()))
    return {
        "text": text,
        "words": words,
        "corrected": found.corrected,
        "models": models,
        "has_more": found.next_cursor is not None,
        "is_nearest": bool(nearest),
        "count": count,
        **groups,
    }


def publishers_like(text: str) -> Any:
    """Organizations that list something in public and whose name, or the beginning of their slug, looks like it."""
    listed = AIModel.objects.published().filter(publisher=OuterRef("pk"))
    named = Q(name__trigram_word_similar=text) | Q(slug__startswith=text.lower())
    return Organization.objects.filter(named, Exists(listed)).order_by("name", "slug")[:PUBLISHERS]


def keys_like(request: HttpRequest, text: str) -> Any:
    """The keys of the organization that the visitor acts for, as far as they work; none for the signed-out."""
    actor = actor_of(request)
    if actor.organization is None:
        return APIKey.objects.none()
    keys = APIKey.objects.of_organization(actor.organization).usable(clock.now())
    return keys.filter(Q(name__icontains=text) | Q(prefix__startswith=text)).order_by("-id")[:KEYS]


def documents_like(words: list[str]) -> list[tuple[str, str]]:
    """(address, title) of the pages that have a word which begins like every one of `words`."""
    found = []
    for name, (title, more) in DOCUMENTS.items():
        known = f"{title} {more}".lower().split()
        if all(any(one.startswith(word) for one in known) for word in words):
            try:
                found.append((reverse(name), str(title)))
            except NoReverseMatch:
                continue
    return found
