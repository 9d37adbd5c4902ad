"""What the catalogue lends to pages: a model's card, its rating plate, its price in words."""

import json
from typing import Any

from django import template
from django.conf import settings
from django.template import Context
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from common.policy import actor_of
from marketplace.models import AIModel
from marketplace.services import SEE_ALL, is_saved
from marketplace.services.parameters import Parameter, parameters_of
from marketplace.services.schemas import Schema
from marketplace.templatetags.plates import Cell as Cell
from marketplace.templatetags.plates import card_cells, uptime_words
from marketplace.templatetags.plates import plate_cells as plate_cells
from marketplace.templatetags.words import availability_words, cost_words, price_words, state_of

SHOWN_PRICES = 12
SHOWN_CAPABILITIES = 4  # in the header; all of them stand beside the text

register = template.Library()
register.filter(price_words)
register.filter(cost_words)
register.filter(availability_words)
register.filter(uptime_words)


@register.inclusion_tag("components/mcard.html")
def model_card(ai_model: AIModel) -> dict[str, object]:
    """The model as a card. Reads nothing when the model comes from `AIModelQuerySet.detailed`."""
    publisher = ai_model.publisher.slug
    return {
        "name": ai_model.name,
        "slug": f"{publisher}/{ai_model.slug}",
        "short": ai_model.slug,
        "publisher": publisher,
        "publisher_href": reverse("publisher", args=[publisher]),
        "href": reverse("model", args=[publisher, ai_model.slug]),
        "text": ai_model.description,
        "task": ai_model.get_category_display(),
        "logo": ai_model.logo,
        "cells": card_cells(ai_model),
        "rating": ai_model.rating,
        "reviews": ai_model.rating_count,
        "note": "" if ai_model.is_callable else _("Not callable"),
    }


@register.inclusion_tag("marketplace/header.html", takes_context=True)
def model_header(context: Context, ai_model: AIModel, tab: str = "overview") -> dict[str, object]:
    """What stands at the top of every page about a model: crumbs, name, state, plate and tabs.

    tab: "overview", "playground", "api", "versions", "reviews" or "stats".
    """
    publisher = ai_model.publisher
    address = [publisher.slug, ai_model.slug]
    actor = actor_of(context["request"])
    versions = ai_model.versions.visible_to(actor.organization, sees_all=actor.may(SEE_ALL))
    pages = {
        "overview": (_("Overview"), reverse("model", args=address)),
        "playground": (_("Playground"), reverse("playground", args=address)),
        "api": (_("API"), reverse("model-api", args=address)),
        "versions": (_("Versions"), reverse("model-versions-page", args=address)),
        "reviews": (_("Reviews"), reverse("reviews", args=address)),
        "stats": (_("Stats"), reverse("model-stats", args=address)),
    }
    counts = {"versions": versions.count(), "reviews": ai_model.rating_count}
    return {
        "ai_model": ai_model,
        "tab": tab,
        "slug": f"{publisher.slug}/{ai_model.slug}",
        "state": state_of(ai_model),
        "capabilities": ai_model.capabilities[:SHOWN_CAPABILITIES],
        "cells": plate_cells(ai_model),
        "crumbs": [
            {"label": _("Models"), "href": reverse("models")},
            {"label": publisher.slug, "href": reverse("publisher", args=[publisher.slug])},
            {"label": ai_model.slug},
        ],
        "tabs": [
            {
                "label": label,
                "href": href,
                "current": name == tab,
                "count": counts.get(name),
            }
            for name, (label, href) in pages.items()
        ],
        "playground": pages["playground"][1],
        "is_signed_in": actor.user is not None,
        "is_saved": is_saved(ai_model=ai_model, user=actor.user),
        "here": context["request"].path,
    }


@register.inclusion_tag("marketplace/prices.html")
def model_prices(ai_model: AIModel) -> dict[str, object]:
    """What it costs and since when, what it will cost, and what it did cost: the latest of its history."""
    rows = list(ai_model.prices.history().order_by("-effective_from", "-id")[: SHOWN_PRICES + 1])
    return {"rows": rows[:SHOWN_PRICES], "has_more": len(rows) > SHOWN_PRICES, "announced": ai_model.announced_price}


@register.filter
def first_paragraph(html: SafeString) -> SafeString:
    """The paragraph that rendered Markdown begins with; nothing if it begins with something else."""
    first, end, _rest = html.partition("</p>")
    return mark_safe(first + end) if end and first.startswith("<p>") else SafeString("")


@register.filter
def after_first_paragraph(html: SafeString) -> SafeString:
    """All but what `first_paragraph` takes."""
    return mark_safe(html[len(first_paragraph(html)) :])


@register.inclusion_tag("marketplace/parameters.html")
def model_parameters(schema: Schema, title: str, id: str, model: str = "") -> dict[str, object]:
    """A schema's properties as a table, with the schema itself below it.

    id: unique on the page. model: the name that the body must carry beside them, if it must.
    """
    return {
        "title": title,
        "id": id,
        "rows": parameters_of(schema),
        "model": model,
        "tabs": [{"label": "JSON", "language": "json", "source": _as_json(schema)}],
    }


@register.filter
def example_tabs(schema: Schema) -> list[dict[str, str]]:
    """The example that a schema itself gives, for `components/code.html`; none is made up."""
    examples = schema.get("examples")
    if not isinstance(examples, list) or not examples:
        return []
    return json_tabs(examples[0])


@register.filter
def outline_tabs(outline: str) -> list[dict[str, str]]:
    """Markdown, for `components/code.html`."""
    return [{"label": "Markdown", "language": "markdown", "source": outline}]


@register.filter
def parameter_rows(schema: Schema) -> list[Parameter]:
    """A schema's properties, one by one."""
    return parameters_of(schema)


@register.simple_tag
def plate_of(ai_model: AIModel) -> list[Cell]:
    """The figures of its rating plate."""
    return plate_cells(ai_model)


@register.inclusion_tag("marketplace/twin.html")
def model_twin(ai_model: AIModel, tab: str) -> dict[str, object]:
    """A link to the same page as Markdown. tab: "overview", "api" or "versions"."""
    return {"href": _twin(ai_model, tab)}


@register.simple_tag
def twins_of(ai_model: AIModel) -> list[tuple[str, str]]:
    """The other pages of a model as Markdown, with their addresses; the app that measures has one more."""
    pages = {"api": _("API"), "versions": _("Versions"), "stats": _("Stats")}
    return [(label, f"{settings.SITE_URL}{_twin(ai_model, tab)}") for tab, label in pages.items()]


def _twin(ai_model: AIModel, tab: str) -> str:
    publisher, slug = ai_model.publisher.slug, ai_model.slug
    if tab == "overview":
        return reverse("model", args=[publisher, f"{slug}.md"])
    return reverse(f"model-{tab}-markdown", args=[publisher, slug])


@register.filter
def json_tabs(value: Any) -> list[dict[str, str]]:
    """A value, for `components/code.html`."""
    return [{"label": "JSON", "language": "json", "source": _as_json(value)}]


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
