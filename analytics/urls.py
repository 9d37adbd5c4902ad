"""Where figures and receipts are shown."""

from django.urls import path

from analytics import api as views
from analytics.views import model_stats, model_stats_markdown, request_page, requests_page, usage_page

pages = [
    path("usage", usage_page, name="usage"),
    path("requests", requests_page, name="requests"),
    path("requests/<req:id>", request_page, name="request"),
    path("models/<slug:publisher>/<str:slug>/stats", model_stats, name="model-stats"),
    path("models/<slug:publisher>/<str:slug>/stats.md", model_stats_markdown, name="model-stats-markdown"),
]

api = [
    path("api/analytics/usage", views.Usage.as_view(), name="usage"),
]
