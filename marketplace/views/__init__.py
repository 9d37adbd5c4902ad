"""The pages of the catalogue: to find, to read, to publish."""

from marketplace.views.comparing import compare
from marketplace.views.explore import models, publisher
from marketplace.views.publishing import publish, publish_basics, publish_price, publish_review
from marketplace.views.reading import (
    model,
    model_api,
    model_api_markdown,
    model_versions,
    model_versions_markdown,
)
from marketplace.views.saved import save, saved

__all__ = [
    "compare",
    "model",
    "model_api",
    "model_api_markdown",
    "model_versions",
    "model_versions_markdown",
    "models",
    "publish",
    "publish_basics",
    "publish_price",
    "publish_review",
    "publisher",
    "save",
    "saved",
]
