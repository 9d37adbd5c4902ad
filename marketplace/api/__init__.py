"""/api/models: the catalogue, and the listings of the organization that acts."""

from marketplace.api.life import Deprecation, Publication, Submission
from marketplace.api.listings import Model, Models
from marketplace.api.prices import OnePrice, Prices
from marketplace.api.saved import OneSaved, SavedModels
from marketplace.api.versions import Version, VersionChanges, Versions, VersionSunset

__all__ = [
    "Deprecation",
    "Model",
    "Models",
    "OnePrice",
    "OneSaved",
    "Prices",
    "Publication",
    "SavedModels",
    "Submission",
    "Version",
    "VersionChanges",
    "VersionSunset",
    "Versions",
]
