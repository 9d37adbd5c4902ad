"""Addresses of keys."""

from django.urls import path

from apikeys import api as endpoints

pages = []

api = [
    path("api/keys", endpoints.Keys.as_view(), name="keys"),
    path("api/keys/<key:id>", endpoints.Key.as_view(), name="key"),
    path("api/keys/<key:id>/rotate", endpoints.KeyRotation.as_view(), name="key-rotate"),
]
