"""Addresses of keys."""

from django.urls import path

from apikeys import api as endpoints
from apikeys import views

pages = [
    path("keys", views.keys, name="keys"),
    path("keys/<key:id>", views.key, name="key"),
    path("keys/<key:id>/rotate", views.rotate, name="key-rotate"),
    path("keys/<key:id>/revoke", views.revoke, name="key-revoke"),
]

api = [
    path("api/keys", endpoints.Keys.as_view(), name="keys"),
    path("api/keys/leaks", endpoints.Leaks.as_view(), name="key-leaks"),
    path("api/keys/<key:id>", endpoints.Key.as_view(), name="key"),
    path("api/keys/<key:id>/rotate", endpoints.KeyRotation.as_view(), name="key-rotate"),
]
