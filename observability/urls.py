from django.urls import path

from observability import api as endpoints
from observability import views

pages = [
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("docs/errors", views.docs_errors, name="docs-errors"),
    path("settings/audit", views.audit_log, name="audit-log"),
    path("settings/api-log", views.api_log, name="api-log"),
]
api = [
    path("openapi.json", views.schema, name="schema"),
    path("api/docs", views.api_docs, name="docs"),
    path("api/audit-events", endpoints.AuditEvents.as_view(), name="audit-events"),
]
