"""The answers where no view answers: named in `config.urls` and settings."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from common import problems
from common.problems import Problem, from_exception, problem_response


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, exception, problems.BadRequestProblem())


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return _answer(request, exception, problems.PermissionDeniedProblem())


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    return problem_response(problems.NotFound(), request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Django's CSRF_FAILURE_VIEW. The reason is Django's, for developers; people are told what to do."""
    return problem_response(problems.CSRFFailed(), request)


def too_many_requests(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    """allauth's, whose limits are by the minute."""
    return problem_response(problems.RateLimited(retry_after_seconds=60), request)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """After a bug. The page must appear even where the session, the database or a template is what broke."""
    try:
        return problem_response(problems.InternalError(), request)
    except Exception:
        return HttpResponse(
            f"Something broke on our side. Request id: {problems.request_id_of(request)}\n",
            status=500,
            content_type="text/plain; charset=utf-8",
        )


def _answer(request: HttpRequest, exception: Any, default: Problem) -> HttpResponseBase:
    problem = from_exception(exception) if exception is not None else None
    return problem_response(problem or default, request)
