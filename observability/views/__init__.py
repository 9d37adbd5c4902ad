"""Health, the documents about the API, the answers where no view answers, and what owners see of the logs."""

from observability.views.answers import (
    bad_request,
    csrf_failure,
    forbidden,
    not_found,
    server_error,
    too_many_requests,
)
from observability.views.documents import api_docs, docs_errors, livez, readyz, schema
from observability.views.logs import api_log, audit_log

__all__ = [
    "api_docs",
    "api_log",
    "audit_log",
    "bad_request",
    "csrf_failure",
    "docs_errors",
    "forbidden",
    "livez",
    "not_found",
    "readyz",
    "schema",
    "server_error",
    "too_many_requests",
]
