"""Errors that a caller can act on: one registry, answered as `application/problem+json` or in OpenAI's envelope.

A service raises a `Problem`; the edge answers it once. An exception that is no `Problem` is a bug and stays a 500.
Every class here and in the apps' `errors.py` is registered by its code, and `/docs/errors` is made from the registry.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypedDict

from django.conf import settings
from django.core.exceptions import (
    NON_FIELD_ERRORS,
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.template.loader import select_template
from rest_framework import exceptions
from rest_framework.response import Response

from common.logs import mask

CONTENT_TYPE = "application/problem+json"
SHOULD_RETRY_WITHIN_SECONDS = 120  # OpenAI's clients wait no longer than this for a retry
RETRIED_BY_CLIENTS = frozenset({408, 409, 429})  # and every 5xx
RESERVED_MEMBERS = frozenset({"type", "title", "status", "code", "detail", "request_id", "errors"})

Retry = Literal["never", "after", "now"]


class FieldError(TypedDict):
    """One fault in the input. `pointer` is an RFC 6901 pointer into the body; a query parameter is `/<name>`."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """Raised by services, answered once at the edge. `extra` becomes members of the document.

    `explanation` says what happened and `fix` what to do about it, on the page of error codes.
    `retry`: "never" (the same request fails again), "after" (wait for `Retry-After`), "now" (chance may differ).
    `retry_after_seconds` in `extra` becomes the `Retry-After` header too.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    explanation: ClassVar[str]
    fix: ClassVar[str]
    retry: ClassVar[Retry] = "never"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            raise TypeError(f"{cls.__qualname__} needs a code of its own.")
        known = REGISTRY.get(cls.code)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"The code {cls.code!r} of {cls.__qualname__} is taken by {known.__module__}.")
        REGISTRY[cls.code] = cls

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        if clash := RESERVED_MEMBERS & extra.keys():
            raise TypeError(f"Reserved members of a problem: {', '.join(sorted(clash))}.")
        super().__init__(detail or self.title)
        self.detail = detail or self.explanation
        self.errors = list(errors)
        self.extra = extra
        self._headers = dict(headers or {})

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to this answer, whichever dialect its body is in."""
        headers: dict[str, str] = {}
        if self.status == 401:
            headers["WWW-Authenticate"] = f'Bearer realm="{settings.SITE_NAME}"'
        seconds = self.extra.get("retry_after_seconds")
        if seconds is None and self.status in (429, 503):
            seconds = 1
        if seconds is not None:
            headers["Retry-After"] = str(seconds)
        headers |= self._headers
        if self.status == 429 and headers["Retry-After"].isdigit():  # OpenAI's clients read the finer one first
            headers.setdefault("retry-after-ms", f"{headers['Retry-After']}000")
        if self.status in RETRIED_BY_CLIENTS or self.status >= 500:
            wait = headers.get("Retry-After", "0")
            if self.retry == "never" or (wait.isdigit() and int(wait) > SHOULD_RETRY_WITHIN_SECONDS):
                headers["x-should-retry"] = "false"
        return headers


REGISTRY: dict[str, type[Problem]] = {}


class BadRequestProblem(Problem):
    code, status, title = "bad_request", 400, "Bad request"
    explanation = "The request could not be understood."
    fix = "Check the request line, the headers and the encoding of the body."


class InvalidJSON(Problem):
    code, status, title = "invalid_json", 400, "Invalid JSON"
    explanation = (
        "The body is not JSON that can be read safely: it must be UTF-8, with each name once, and not nested too deep."
    )
    fix = "Send one JSON value in UTF-8, without NUL characters, lone surrogates, NaN or repeated names."


class InvalidParameter(Problem):
    code, status, title = "invalid_parameter", 400, "Invalid query parameter"
    explanation = "A query parameter is unknown or has a value that does not fit."
    fix = "Correct the parameter named in `errors`; the reference lists every one."


class ValidationFailed(Problem):
    code, status, title = "validation_failed", 422, "The input does not fit"
    explanation = "The body is well-formed, but one or more of its fields are missing, unknown or out of range."
    fix = "Correct every field listed in `errors` and send the request again."


class LengthRequired(Problem):
    code, status, title = "length_required", 411, "Length required"
    explanation = "The body was sent without saying how long it is."
    fix = "Send the header `Content-Length`."


class PayloadTooLarge(Problem):
    code, status, title = "payload_too_large", 413, "Body too large"
    explanation = "The body is larger than this address accepts."
    fix = "Send less in one request."


class UnsupportedMediaType(Problem):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"
    explanation = "The body is in a format that this address does not read."
    fix = "Send JSON with the header `Content-Type: application/json`."


class NotAuthenticated(Problem):
    code, status, title = "not_authenticated", 401, "Sign in or send a key"
    explanation = "This address needs to know who is calling, and the request carried no credentials."
    fix = "Send `Authorization: Bearer <API key or access token>`, or sign in."


class MalformedCredentials(Problem):
    code, status, title = "malformed_credentials", 401, "Malformed credentials"
    explanation = "The credentials in the request are not in a form that was ever issued here."
    fix = "Send `Authorization: Bearer`, one space, and the whole key or access token as it was given to you."


class InvalidCredentials(Problem):
    code, status, title = "invalid_credentials", 401, "Credentials not accepted"
    explanation = "The credentials are well-formed, but are not, or no longer, valid."
    fix = "Get a fresh access token or use another key."


class PermissionDeniedProblem(Problem):
    code, status, title = "permission_denied", 403, "Not allowed"
    explanation = "You are known, but may not do this."
    fix = "Ask an owner or administrator of the organization, or use other credentials."


class MissingScope(Problem):
    code, status, title = "missing_scope", 403, "The key lacks a permission"
    explanation = "This API key was not given the permission that this call needs."
    fix = "Use a key with the permission named in `required_scope`, or add it to this key."


class RoleRequired(Problem):
    code, status, title = "role_required", 403, "Your role does not allow this"
    explanation = "This needs another role in the organization, or on this site, than the one you have."
    fix = "Ask an owner or administrator of the organization for one of the roles named in `required_roles`."


class DeveloperRequired(Problem):
    code, status, title = "developer_required", 403, "Developer access needed"
    explanation = "Only platform developers may publish models or change them."
    fix = "Ask for developer access with `POST /api/auth/become-developer`."


class SecondFactorStale(Problem):
    code, status, title = "second_factor_stale", 403, "Show the second factor again"
    explanation = "What staff do on this site needs a second factor that was shown within the past quarter of an hour."
    fix = "Programs log in again with `code`; browsers confirm in the administration, then send the request again."


class CSRFFailed(Problem):
    code, status, title = "csrf_failed", 403, "The form expired"
    explanation = (
        "A request made with the site's session must carry its CSRF token, and this one did not or it was old."
    )
    fix = "Reload the page and send the form again; programs use an API key or an access token instead of the session."


class NotFound(Problem):
    code, status, title = "not_found", 404, "Not found"
    explanation = "There is nothing here that you may see."
    fix = "Check the address and the id, and that you act for the right organization."


class MethodNotAllowed(Problem):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    explanation = "This address exists, but not for this method."
    fix = "Use one of the methods in the `Allow` header."


class NotAcceptable(Problem):
    code, status, title = "not_acceptable", 406, "No acceptable format"
    explanation = "The answer cannot be given in any of the formats named in `Accept`."
    fix = "Send `Accept: application/json`."


class Conflict(Problem):
    code, status, title = "conflict", 409, "Conflict with the present state"
    explanation = "The request fits, but not the state that the object is in now."
    fix = "Read the object again and decide anew."


class PreconditionFailed(Problem):
    code, status, title = "precondition_failed", 412, "Changed since you read it"
    explanation = "What you want to replace is no longer what the `ETag` in `If-Match` stands for: somebody changed it."
    fix = "Read it again, make your change to what it says now, and send the new `ETag` in `If-Match`."


class MisdirectedRequest(Problem):
    code, status, title = "misdirected_request", 421, "Wrong host name"
    explanation = "This server does not answer for the host name in the request."
    fix = "Use the address of the site; its operator can add a host name to `ALLOWED_HOSTS`."


class RateLimited(Problem):
    code, status, title, retry = "rate_limited", 429, "Too many requests", "after"
    explanation = "More requests arrived than the rate limit allows."
    fix = "Wait as long as `Retry-After` says; spread requests evenly to stay below the limit."


class InternalError(Problem):
    code, status, title, retry = "internal_error", 500, "Something broke on our side", "now"
    explanation = "The request met a fault in the service. It has been recorded under its request id."
    fix = "Try once more; if it happens again, report the request id."


class ServiceUnavailable(Problem):
    code, status, title, retry = "service_unavailable", 503, "Temporarily unavailable", "after"
    explanation = "A part that this request needs is not available at the moment."
    fix = "Try again as late as `Retry-After` says."


# --- The two documents ---


def docs_url(code: str) -> str:
    return f"{settings.SITE_URL.rstrip('/')}/docs/errors#{code}"


def document(problem: Problem, request_id: str) -> dict[str, Any]:
    """The RFC 9457 document of `problem`."""
    body: dict[str, Any] = {
        "type": docs_url(problem.code),
        "title": str(problem.title),
        "status": problem.status,
        "code": problem.code,
        "detail": mask(str(problem.detail)),
        **problem.extra,
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = _masked(problem.errors)
    return body


def _masked(errors: Iterable[FieldError]) -> list[FieldError]:
    """Who sends a key in the wrong place is told so without the key: errors end up in logs and tickets."""
    return [
        FieldError(pointer=mask(error["pointer"]), code=error["code"], detail=mask(str(error["detail"])))
        for error in errors
    ]


OPENAI_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def openai_type(status: int) -> str:
    """OpenAI's `error.type` for a status."""
    return "api_error" if status >= 500 else OPENAI_TYPES.get(status, "invalid_request_error")


def openai_param(pointer: str) -> str | None:
    """`/messages/0/content` -> `messages[0].content`, as OpenAI names a parameter."""
    name = ""
    for token in pointer.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        name += f"[{token}]" if token.isdigit() and name else f".{token}" if name else token
    return name or None


def openai_envelope(problem: Problem, request_id: str) -> dict[str, Any]:
    """The same facts as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code", …}}`."""
    errors = _masked(problem.errors)
    message = " ".join([mask(str(problem.detail)), *(error["detail"] for error in errors)])
    error: dict[str, Any] = {
        "message": message,
        "type": openai_type(problem.status),
        "param": openai_param(errors[0]["pointer"]) if errors else None,
        "code": problem.code,
        "doc_url": docs_url(problem.code),
        **{name: value for name, value in problem.extra.items() if name not in ("message", "param", "doc_url")},
        "request_id": request_id,
    }
    if errors:
        error["errors"] = errors
    return {"error": error}


ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
ANTHROPIC_PATHS = frozenset({"/v1/messages"})


def anthropic_envelope(problem: Problem, request_id: str) -> dict[str, Any]:
    """The same facts as Anthropic's clients expect them: `{"type": "error", "error": {"type", "message", …}, …}`."""
    error = openai_envelope(problem, request_id)["error"]
    usual = "api_error" if problem.status >= 500 else "invalid_request_error"
    told = {name: value for name, value in error.items() if name not in ("type", "request_id") and value is not None}
    known = ANTHROPIC_TYPES.get(problem.status, usual)
    return {"type": "error", "error": {"type": known, **told}, "request_id": request_id}


def envelope_at(path: str) -> Callable[[Problem, str], dict[str, Any]]:
    """The document in which errors leave at this path."""
    if not speaks_openai(path):
        return document
    return anthropic_envelope if path in ANTHROPIC_PATHS else openai_envelope


# --- From other exceptions ---


def escape_pointer(token: object) -> str:
    """One reference token of an RFC 6901 pointer."""
    return str(token).replace("~", "~0").replace("/", "~1")


def flatten(details: Any, pointer: str = "") -> Iterator[FieldError]:
    """DRF's nested details -> one `FieldError` per message, list positions included."""
    if _is_message(details):
        yield {"pointer": pointer, "code": str(details["code"]), "detail": str(details["message"])}
    elif isinstance(details, dict):
        for name, inner in details.items():
            here = pointer if name in ("non_field_errors", NON_FIELD_ERRORS) else f"{pointer}/{escape_pointer(name)}"
            yield from flatten(inner, here)
    else:
        for position, inner in enumerate(details):
            yield from flatten(inner, pointer if _is_message(inner) else f"{pointer}/{position}")


def _is_message(details: Any) -> bool:
    """A leaf of DRF's details. A serializer may have fields with these two names; their values are then lists."""
    return isinstance(details, dict) and details.keys() == {"message", "code"} and isinstance(details["message"], str)


def model_errors(error: ModelValidationError) -> Iterator[FieldError]:
    """The messages of Django's own `ValidationError`, by field where it has fields."""
    by_field = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
    for name, inner in by_field.items():
        pointer = "" if name == NON_FIELD_ERRORS else f"/{escape_pointer(name)}"
        for one in inner:
            for message in one.messages:
                yield {"pointer": pointer, "code": str(one.code or "invalid"), "detail": str(message)}


def from_exception(exc: BaseException) -> Problem | None:
    """The problem that a framework's exception stands for; None for a bug."""
    match exc:
        case Problem():
            return exc
        case exceptions.ValidationError():
            return ValidationFailed(errors=flatten(exc.get_full_details()))
        case ModelValidationError():
            return ValidationFailed(errors=model_errors(exc))
        case exceptions.ParseError():
            return InvalidJSON(str(exc.detail))
        case exceptions.NotAuthenticated():
            return NotAuthenticated()
        case exceptions.AuthenticationFailed():
            return InvalidCredentials(_detail_text(exc))
        case Http404() | exceptions.NotFound():
            return NotFound()
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed(str(exc.detail))
        case exceptions.NotAcceptable():
            return NotAcceptable()
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType()
        case exceptions.Throttled():
            return RateLimited(retry_after_seconds=int(getattr(exc, "wait", None) or 1))
        case PermissionDenied():
            if type(exc).__name__ == "Ratelimited":  # django-ratelimit's; not every reader of this module has it
                return RateLimited(retry_after_seconds=60)
            return PermissionDeniedProblem()
        case exceptions.PermissionDenied():
            if str(exc.detail).startswith("CSRF Failed"):
                return CSRFFailed()
            return PermissionDeniedProblem()
        case DisallowedHost():
            return MisdirectedRequest()
        case RequestDataTooBig():
            return PayloadTooLarge()
        case TooManyFieldsSent() | TooManyFilesSent():
            return BadRequestProblem("The form has more fields or files than are accepted.")
        case BadRequest() | SuspiciousOperation() | MultiPartParserError() | UnreadablePostError():
            return BadRequestProblem()
        case _:
            return None


def _detail_text(exc: exceptions.APIException) -> str:
    """simplejwt gives a dictionary where others give a sentence."""
    detail: Any = exc.detail
    if isinstance(detail, dict):
        detail = detail.get("detail", "")
    return str(detail) if isinstance(detail, str) else ""


# --- Answers ---


def request_id_of(request: Any) -> str:
    """The id that the middleware gave this request; empty outside it."""
    return getattr(request, "request_id", "")


def code_of(request: Any) -> str:
    """The code of the problem that this request was answered with; empty for another answer."""
    found: str = getattr(request, "problem_code", "")
    return found


def _note_code(request: Any, problem: Problem) -> None:
    """For the request log, on Django's request also where DRF's is given."""
    if request is not None:
        getattr(request, "_request", request).problem_code = problem.code


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. Returns None for a bug, which stays a 500."""
    problem = from_exception(exc)
    if problem is None:
        return None
    request = context.get("request")
    _note_code(request, problem)
    headers = problem.headers
    if problem.status == 405 and (view := context.get("view")) is not None:
        headers.setdefault("Allow", ", ".join(view.allowed_methods))
    path = getattr(request, "path", "")
    return Response(
        envelope_at(path)(problem, request_id_of(request)),
        status=problem.status,
        headers=headers,
        content_type=None if speaks_openai(path) else CONTENT_TYPE,
    )


def speaks_openai(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")


def is_api_path(path: str) -> bool:
    """Whether a program, not a person, reads the answers at this path."""
    return speaks_openai(path) or path == "/api" or (path.startswith("/api/") and path != "/api/docs")


def problem_response(problem: Problem, request: HttpRequest) -> HttpResponseBase:
    """Answer `problem` outside DRF: JSON under `/api` and `/v1`, else the page `errors/<status>.html`."""
    _note_code(request, problem)
    request_id = request_id_of(request)
    if speaks_openai(request.path):
        body = envelope_at(request.path)(problem, request_id)
        return JsonResponse(body, status=problem.status, headers=problem.headers)
    if is_api_path(request.path):
        return JsonResponse(
            document(problem, request_id), status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE
        )
    own = ["errors/403_csrf.html"] if isinstance(problem, CSRFFailed) else []
    template = select_template([*own, f"errors/{problem.status}.html", "errors/error.html"])
    context = {
        "title": problem.title,
        "code": problem.code,
        "status": problem.status,
        "detail": "" if problem.detail == problem.explanation else problem.detail,
        "fix": problem.fix,
        "retry_after": problem.extra.get("retry_after_seconds"),
        "extra": problem.extra,
        "request_id": request_id,
    }
    return HttpResponse(template.render(context, request), status=problem.status, headers=problem.headers)
