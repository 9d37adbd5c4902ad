"""Models as the API reads and writes them."""

from marketplace.serializers.answers import (
    AIModelOut,
    AIModelsOut,
    PriceOut,
    VersionOut,
    facets_out,
    model_out,
    price_out,
    version_out,
)
from marketplace.serializers.requests import (
    AIModelIn,
    DeprecationIn,
    ExploreQuery,
    PriceIn,
    SearchQuery,
    VersionIn,
    query_of,
)

__all__ = [
    "AIModelIn",
    "AIModelOut",
    "AIModelsOut",
    "DeprecationIn",
    "ExploreQuery",
    "PriceIn",
    "PriceOut",
    "SearchQuery",
    "VersionIn",
    "VersionOut",
    "facets_out",
    "model_out",
    "price_out",
    "query_of",
    "version_out",
]
