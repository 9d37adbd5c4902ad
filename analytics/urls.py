"""Where figures and receipts are shown."""

from django.urls import path

from analytics import api as views
from analytics.views import request_page, requests_page, usage_page

pages = [
    path("usage", usage_page, name="usage"),
    path("requests", requests_page, name="requests"),
    path("requests/<req:id>", request_page, name="request"),
]

api = [
    path("api/analytics/usage", views.Usage.as_view(), name="usage"),
]
