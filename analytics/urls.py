"""Where figures are shown."""

from django.urls import path

from analytics import api as views
from analytics.views import usage_page

pages = [
    path("usage", usage_page, name="usage"),
]

api = [
    path("api/analytics/usage", views.Usage.as_view(), name="usage"),
]
