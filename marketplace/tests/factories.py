"""Listings for tests, with valid defaults."""

from __future__ import annotations

from typing import Any

from accounts.models import Organization
from common.ids import uuid7
from marketplace import services
from marketplace.models import AIModel

TEXT_IN = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
LABEL_OUT = {"type": "object", "required": ["label"], "properties": {"label": {"type": "string"}}}


def make_organization(**values: Any) -> Organization:
    slug = values.pop("slug", f"org-{uuid7().hex[-12:]}")
    return Organization.objects.create(**{"slug": slug, "name": slug.title(), **values})


def make_model(*, publisher: Organization | None = None, status: str = "draft", **values: Any) -> AIModel:
    """A model; `status` is reached the way a model reaches it, with staff's help."""
    terms = {
        "name": "Sentiment",
        "description": "Says whether a text is kind.",
        "version": "1.0.0",
        "category": "text-classification",
        "api_spec": {"input": TEXT_IN, "output": LABEL_OUT},
        "pricing": services.Terms(type="free"),
        **values,
    }
    ai_model = services.create_model(publisher=publisher or make_organization(), **terms)
    if status == "draft":
        return ai_model
    ai_model = services.submit(ai_model=ai_model)
    match status:
        case "in_review":
            return ai_model
        case "rejected":
            return services.reject(ai_model=ai_model)
    ai_model = services.publish(ai_model=ai_model, by_staff=True)
    if status != "published":
        step = {"deprecated": services.deprecate, "suspended": services.suspend, "archived": services.archive}[status]
        ai_model = step(ai_model=ai_model)
    return ai_model
