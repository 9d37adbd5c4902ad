from django.urls import path

from observability import views

pages = [
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("docs/errors", views.docs_errors, name="docs-errors"),
]
api = [
    path("openapi.json", views.schema, name="schema"),
    path("api/docs", views.api_docs, name="docs"),
]
