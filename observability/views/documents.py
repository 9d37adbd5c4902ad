"""Health, and the documents about the API."""

import json
from functools import cache
from itertools import groupby
from threading import Lock

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from common import problems
from observability import services


@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nothing else, so that a lost database does not restart every process."""
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether this process can serve: 503 takes it out of the load balancer."""
    checks = services.check_readiness()
    is_ready = all(check.is_ok for check in checks)
    body = {
        "status": "ok" if is_ready else "unavailable",
        "checks": {check.name: {"ok": check.is_ok, "ms": check.ms} for check in checks},
    }
    return JsonResponse(body, status=200 if is_ready else 503, headers={"Cache-Control": "no-store"})


_making = Lock()


def _schema() -> bytes:
    """The same for everyone and for the life of the process."""
    with _making:  # generators share what they know of the view they are at, so that two at once fail
        return _make_schema()


@cache
def _make_schema() -> bytes:
    document = SchemaGenerator().get_schema(request=None, public=True)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """OpenAPI 3.1 of both surfaces."""
    response = HttpResponse(_schema(), content_type="application/json")
    response["Access-Control-Allow-Origin"] = "*"
    patch_cache_control(response, public=True, max_age=300)
    return response


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from our own files; `static/js/api-docs.js` starts it."""
    return render(request, "observability/api_docs.html")


@require_safe
def docs_errors(request: HttpRequest) -> HttpResponse:
    """Every error code: what it means and what to do. `type` of an error document leads here."""
    codes = sorted(problems.REGISTRY.values(), key=lambda problem: (problem.status, problem.code))
    groups = [(status, list(found)) for status, found in groupby(codes, key=lambda problem: problem.status)]
    return render(request, "observability/docs_errors.html", {"groups": groups, "tabs": _examples(request)})


def _examples(request: HttpRequest) -> list[dict[str, str]]:
    """One error in both dialects, as it is answered."""
    problem = problems.RateLimited(retry_after_seconds=12)
    request_id = problems.request_id_of(request)
    return [
        {
            "value": label,
            "label": label,
            "language": "json",
            "source": json.dumps(body, indent=2, ensure_ascii=False),
        }
        for label, body in (
            ("/api", problems.document(problem, request_id)),
            ("/v1", problems.openai_envelope(problem, request_id)),
        )
    ]
