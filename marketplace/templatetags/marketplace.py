"""What the catalogue lends to pages: a model's card, its rating plate, its price in words."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from django import template
from django.template import Context
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from common.money import display
from common.problems import FieldError
from marketplace.models import AIModel, Price
from marketplace.services.forms import example_of_schema, faults_of_no_field, form_of_schema, parameters_of
from marketplace.services.schemas import Schema

register = template.Library()


class Cell(TypedDict, total=False):
    """One figure of a plate (`components/plate.html`)."""

    label: str
    per: str
    value: str
    unit: str


@register.inclusion_tag("components/mcard.html")
def model_card(ai_model: AIModel) -> dict[str, object]:
    """The model as a card. Reads nothing when the model comes from `AIModelQuerySet.detailed`."""
    publisher = ai_model.publisher.slug
    return {
        "name": ai_model.name,
        "slug": f"{publisher}/{ai_model.slug}",
        "href": reverse("model", args=[publisher, ai_model.slug]),
        "text": ai_model.description,
        "task": ai_model.get_category_display(),
        "cells": plate_cells(ai_model)[:3],
        "rating": ai_model.rating,
        "reviews": ai_model.rating_count,
        "note": "" if ai_model.is_callable else _("Not callable"),
    }


@register.inclusion_tag("components/plate.html")
def model_plate(ai_model: AIModel) -> dict[str, object]:
    """The full rating plate of a model's page."""
    return {"cells": plate_cells(ai_model)}


@register.inclusion_tag("marketplace/header.html")
def model_header(ai_model: AIModel) -> dict[str, object]:
    """What stands at the top of every page about a model: crumbs, name, state, plate."""
    publisher = ai_model.publisher
    return {
        "ai_model": ai_model,
        "slug": f"{publisher.slug}/{ai_model.slug}",
        "cells": plate_cells(ai_model),
        "crumbs": [
            {"label": _("Models"), "href": reverse("models")},
            {"label": publisher.slug, "href": f"{reverse('models')}?publisher={publisher.slug}"},
            {"label": ai_model.slug},
        ],
        "tone": {"published": "", "deprecated": "warn"}.get(ai_model.status, "info"),
    }


@register.inclusion_tag("marketplace/form.html", takes_context=True)
def model_form(
    context: Context,
    ai_model: AIModel,
    values: Mapping[str, str] | None = None,
    errors: Iterable[FieldError] | None = None,
) -> dict[str, object]:
    """The form to try a model with; `values` and `errors` are those of a form that was sent."""
    schema = ai_model.current_version.input_schema if ai_model.current_version else {}
    found = list(errors or ())
    return {
        "fields": form_of_schema(schema, values or None, found),
        "faults": faults_of_no_field(schema, found),
        "errors": found,
        "action": reverse("playground", args=[ai_model.publisher.slug, ai_model.slug]),
        "page": reverse("model", args=[ai_model.publisher.slug, ai_model.slug]),
        "price": ai_model.price,
        "is_authenticated": context["user"].is_authenticated,
        "csrf_token": context.get("csrf_token"),
    }


@register.inclusion_tag("marketplace/parameters.html")
def model_parameters(schema: Schema, title: str) -> dict[str, object]:
    """A schema's properties as a table, with the schema itself below it."""
    return {
        "title": title,
        "id": f"schema-{slugify(title)}",
        "rows": parameters_of(schema),
        "source": json.dumps(schema, indent=2, ensure_ascii=False),
    }


@register.filter
def example_of(ai_model: AIModel) -> Any:
    """An input that the model takes, for the snippets."""
    return example_of_schema(ai_model.current_version.input_schema) if ai_model.current_version else None


@register.filter
def price_words(price: Price | None) -> str:
    """A price as one sentence would have it: "$0.40 per million input tokens, $1.20 per million output tokens"."""
    if price is None or not (parts := _price_parts(price)):
        return _("Free")
    return ", ".join(parts)


def plate_cells(ai_model: AIModel) -> list[Cell]:
    """The figures of a model in their fixed order: what it costs, then what it is."""
    cells = _price_cells(ai_model.price) or [{"label": _("Price"), "value": _("Free")}]
    if ai_model.current_version is not None:
        cells.append({"label": _("Version"), "value": ai_model.current_version.version})
    cells.append(
        {"label": _("Deployments"), "value": str(number_format(ai_model.deployment_count, force_grouping=True))}
    )
    if ai_model.published_at is not None:
        cells.append({"label": _("Listed since"), "value": f"{ai_model.published_at:%Y-%m-%d}"})
    return cells


def _price_cells(price: Price | None) -> list[Cell]:
    if price is None:
        return []
    cells: list[Cell] = []
    if price.input_nano_per_million:
        cells.append({"label": _("Input"), "per": _("per M"), "value": _money(price, price.input_nano_per_million)})
    if price.output_nano_per_million:
        cells.append({"label": _("Output"), "per": _("per M"), "value": _money(price, price.output_nano_per_million)})
    if price.per_call_nano:
        cells.append({"label": _("Per call"), "value": _money(price, price.per_call_nano)})
    if price.amount_nano:
        label = _("Per month") if price.period == Price.Period.MONTHLY else _("Per year")
        cells.append({"label": label, "value": _money(price, price.amount_nano)})
    if price.included_calls:
        cells.append({"label": _("Included"), "value": str(number_format(price.included_calls)), "unit": _("calls")})
    return cells


def _price_parts(price: Price) -> list[str]:
    parts = []
    if price.amount_nano:
        text = _("%(amount)s a month") if price.period == Price.Period.MONTHLY else _("%(amount)s a year")
        parts.append(text % {"amount": _money(price, price.amount_nano)})
    for nano, text in (
        (price.per_call_nano, _("%(amount)s per call")),
        (price.input_nano_per_million, _("%(amount)s per million input tokens")),
        (price.output_nano_per_million, _("%(amount)s per million output tokens")),
    ):
        if nano:
            parts.append(text % {"amount": _money(price, nano)})
    if price.included_calls:
        text = ngettext("%(count)s call included", "%(count)s calls included", price.included_calls)
        parts.append(text % {"count": number_format(price.included_calls, force_grouping=True)})
    return parts


def _money(price: Price, nano: int) -> str:
    return display(nano, price.currency)
