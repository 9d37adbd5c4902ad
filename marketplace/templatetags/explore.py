"""Models where many stand together: a row of the table, an option of the search field."""

from typing import Any

from django import template
from django.urls import reverse
from django.utils.translation import gettext as _

from marketplace.models import AIModel
from marketplace.templatetags.plates import card_cells, plate_cells

register = template.Library()


@register.inclusion_tag("marketplace/models_row.html")
def model_row(ai_model: AIModel) -> dict[str, Any]:
    """The model as a row of the table. Reads nothing when the model comes from `AIModelQuerySet.in_order`."""
    cells = plate_cells(ai_model)
    by_key = {cell["key"]: cell for cell in cells}
    figures = [
        (_("Context"), by_key.get("context")),
        (_("First token"), by_key.get("first_token") or by_key.get("latency")),
        (_("Throughput"), by_key.get("throughput")),
        (_("Uptime"), by_key.get("uptime")),
    ]
    return {
        "ai_model": ai_model,
        "slug": f"{ai_model.publisher.slug}/{ai_model.slug}",
        "input": by_key.get("input"),
        "output": by_key.get("output"),
        "price": cells[0],  # of a model that is not priced by the token
        "figures": [(label, None if cell and "unknown" in cell else cell) for label, cell in figures],
    }


@register.inclusion_tag("marketplace/models_suggestion.html")
def model_suggestion(ai_model: AIModel, words: str) -> dict[str, Any]:
    """The model as an option of the search field: its name with the words marked, then its first figures."""
    return {
        "name": ai_model.name,
        "words": words,
        "slug": f"{ai_model.publisher.slug}/{ai_model.slug}",
        "href": reverse("model", args=[ai_model.publisher.slug, ai_model.slug]),
        "cells": [cell for cell in card_cells(ai_model) if "unknown" not in cell],
    }
