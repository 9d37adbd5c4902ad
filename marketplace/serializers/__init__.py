"""Models as the API reads and writes them."""

from marketplace.serializers.answers import (
    AIModelOut,
    AIModelsOut,
    VersionOut,
    facets_out,
    model_out,
    version_out,
)
from marketplace.serializers.requests import AIModelIn, DeprecationIn, ExploreQuery, SearchQuery, VersionIn, query_of

__all__ = [
    "AIModelIn",
    "AIModelOut",
    "AIModelsOut",
    "DeprecationIn",
    "ExploreQuery",
    "SearchQuery",
    "VersionIn",
    "VersionOut",
    "facets_out",
    "model_out",
    "query_of",
    "version_out",
]
