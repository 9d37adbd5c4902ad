"""Models as the API reads and writes them."""

from marketplace.serializers.answers import (
    AIModelOut,
    AIModelsOut,
    ComparisonOut,
    PriceOut,
    VersionOut,
    comparison_out,
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
    SinceQuery,
    SunsetIn,
    VersionIn,
    query_of,
)

__all__ = [
    "AIModelIn",
    "AIModelOut",
    "AIModelsOut",
    "ComparisonOut",
    "DeprecationIn",
    "ExploreQuery",
    "PriceIn",
    "PriceOut",
    "SearchQuery",
    "SinceQuery",
    "SunsetIn",
    "VersionIn",
    "VersionOut",
    "comparison_out",
    "facets_out",
    "model_out",
    "price_out",
    "query_of",
    "version_out",
]
