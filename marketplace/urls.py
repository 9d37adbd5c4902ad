"""Addresses of the catalogue."""

from django.urls import path

from marketplace import api as endpoints
from marketplace import views

pages = [
    path("models", views.models, name="models"),
    path("publishers/<slug:slug>", views.publisher, name="publisher"),
    path("compare", views.compare, name="compare"),
    path("saved", views.saved, name="saved"),
    path("publish", views.publish, name="publish"),
    path("publish/new", views.publish_basics, name="publish-new"),
    path("publish/<mdl:id>/basics", views.publish_basics, name="publish-basics"),
    path("publish/<mdl:id>/price", views.publish_price, name="publish-price"),
    path("publish/<mdl:id>/review", views.publish_review, name="publish-review"),
    path("models/<slug:publisher>/<str:slug>", views.model, name="model"),
    path("models/<slug:publisher>/<str:slug>/save", views.save, name="model-save"),
    path("models/<slug:publisher>/<str:slug>/api", views.model_api, name="model-api"),
    path("models/<slug:publisher>/<str:slug>/versions", views.model_versions, name="model-versions-page"),
    path("models/<slug:publisher>/<str:slug>/api.md", views.model_api_markdown, name="model-api-markdown"),
    path(
        "models/<slug:publisher>/<str:slug>/versions.md", views.model_versions_markdown, name="model-versions-markdown"
    ),
]

api = [
    path("api/models", endpoints.Models.as_view(), name="models"),
    path("api/models/<str:ref>", endpoints.Model.as_view(), name="model"),
    path("api/models/<str:ref>/versions", endpoints.Versions.as_view(), name="model-versions"),
    path("api/models/<str:ref>/versions/<str:number>", endpoints.Version.as_view(), name="model-version"),
    path(
        "api/models/<str:ref>/versions/<str:number>/changes",
        endpoints.VersionChanges.as_view(),
        name="model-version-changes",
    ),
    path(
        "api/models/<str:ref>/versions/<str:number>/sunset",
        endpoints.VersionSunset.as_view(),
        name="model-version-sunset",
    ),
    path("api/models/<str:ref>/prices", endpoints.Prices.as_view(), name="model-prices"),
    path("api/models/<str:ref>/prices/<prc:id>", endpoints.OnePrice.as_view(), name="model-price"),
    path("api/models/<str:ref>/saved", endpoints.OneSaved.as_view(), name="model-saved"),
    path("api/saved", endpoints.SavedModels.as_view(), name="saved"),
    path("api/models/<str:ref>/submit", endpoints.Submission.as_view(), name="model-submit"),
    path("api/models/<str:ref>/publish", endpoints.Publication.as_view(), name="model-publish"),
    path("api/models/<str:ref>/deprecate", endpoints.Deprecation.as_view(), name="model-deprecate"),
]
