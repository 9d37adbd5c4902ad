"""The start page of people who are not signed in: what is here, and how to start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.utils.translation import gettext as _

from config import snippets
from config.templatetags.site import money
from marketplace.models import AIModel, Category, Price
from marketplace.services.forms import example_of_schema

MODELS, TASKS, WORDS = 6, 5, 3
ROW = 3  # cards on a wide screen
TASKS_KEY = "home:tasks"
EXAMPLE_KEY = "agr_live_…"


def start_page() -> dict[str, Any]:
    """For `config/home.html`, in three queries at most, whatever is listed: the models, their prices, the tasks."""
    models = list(AIModel.objects.published().detailed().order_by("-is_callable", "-popularity", "-id")[:MODELS])
    used = [model for model in models if model.popularity]
    return {
        "headline": settings.SITE_HEADLINE or _("AI models, bought by their figures"),
        "intro": settings.SITE_INTRO
        or _(
            "See what a model costs and what it does, then call it with one key. "
            "You pay for what you use, and it stops at the limit you set."
        ),
        # What nobody calls is not among the most used; a few models are too few to say so.
        "models": used[: len(used) // ROW * ROW] or models,
        "are_used": len(used) >= ROW,
        "words": _words(models),
        "tasks": [
            {**task, "label": Category(task["category"]).label, "price": _price_words(task)} for task in _tasks()
        ],
        "tabs": _call_tabs(models),
        "key_tabs": snippets.key_tabs(settings.SITE_URL, EXAMPLE_KEY),
        "used_nano": 17_500_000_000,
        "limit_nano": 50_000_000_000,
    }


def _tasks() -> list[dict[str, Any]]:
    """Looked up once a minute: it reads every price of the catalogue, and is the same for everyone."""
    found: list[dict[str, Any]] | None = cache.get(TASKS_KEY)
    if found is None:
        found = list(Price.objects.by_task()[:TASKS])
        cache.set(TASKS_KEY, found, 60)
    return found


def _words(models: Sequence[AIModel]) -> list[str]:
    """What people may look for and find: the traits that most of these models name."""
    traits = Counter(trait for model in models for trait in model.capabilities)
    return [trait for trait, _count in traits.most_common(WORDS)]


def _call_tabs(models: Sequence[AIModel]) -> list[snippets.Tab]:
    """How to call one of these models; one that chats, if there is one, because most programs speak to those."""
    models = [model for model in models if model.is_callable]
    chosen = next((model for model in models if model.category in snippets.CHAT), models[0] if models else None)
    if chosen is None:
        return snippets.call_tabs(settings.SITE_URL, "publisher/model", Category.CHAT)
    slug = f"{chosen.publisher.slug}/{chosen.slug}"
    version = chosen.current_version
    example = example_of_schema(version.input_schema) if version else None
    return snippets.call_tabs(settings.SITE_URL, slug, chosen.category, example)


def _price_words(task: dict[str, Any]) -> str:
    """The least that a model of the task costs; of rates that cannot be compared, the most usual kind."""
    if task["free"]:
        return _("free") if task["free"] == task["models"] else _("free ones among them")
    if task["per_million"] is not None:
        return _("from %(amount)s per million input tokens") % {"amount": money(task["per_million"])}
    if task["per_call"] is not None:
        return _("from %(amount)s per call") % {"amount": money(task["per_call"])}
    return _("by subscription")
