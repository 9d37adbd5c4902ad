"""OpenAPI for `/openapi.json`: what drf-spectacular cannot see by itself.

Access comes from the policy table, errors from the registry of problems, ids and money from our fields. A view names
the problems of its own with `problems = (InsufficientCredit, …)`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import get_converters
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema as SpectacularAutoSchema
from drf_spectacular.plumbing import get_lib_doc_excludes

from common.pagination import PageQuery
from common.policy import ANY, ORGANIZATION_HEADER, Policy, find_policy
from common.problems import CONTENT_TYPE, REGISTRY, Problem, speaks_openai
from common.rest import Query, Serializer

#: RFC 9110's words, where Python's own changed with its version; and the word of proxies for a caller who left.
PHRASES = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}
PARAMETER = re.compile(r"<(?P<converter>\w+):(?P<name>\w+)>")

SECURITY_SCHEMES = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access` token of `POST /api/auth/login`, good for five minutes.",
    },
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "agr_live_…",
        "description": "An API key. The permission that a call needs is listed beside it.",
    },
    "apiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "session",
        "description": "The session of the site itself; writing calls carry `X-CSRFToken` too.",
    },
}

PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457. Further members depend on `code`.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901, such as `/max_tokens`."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
OPENAI_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "doc_url", "request_id"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "doc_url": {"type": "string", "format": "uri"},
                "request_id": {"type": "string"},
            },
        }
    },
}


class TypeIDExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "common.rest.TypeIDField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return typeid_schema(self.target.prefix)


class MoneyExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "common.rest.MoneyField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        required = ["amount", "currency"] if direction == "response" else ["amount"]
        return {
            "type": "object",
            "required": required,
            "properties": {
                "amount": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?$", "examples": ["0.00068"]},
                "currency": {"type": "string", "examples": ["USD"]},
            },
        }


def typeid_schema(prefix: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"}


#: Of every call that is made for an organization.
ORGANIZATION_PARAMETER = {
    "name": ORGANIZATION_HEADER,
    "in": "header",
    "schema": typeid_schema("org"),
    "description": "Which of your organizations you act for; without it your personal one. A key carries its own.",
}


def undocumented() -> list[type]:
    """Bases whose docstring is for those who derive from them, and describes none of the shapes."""
    return [*get_lib_doc_excludes(), Serializer]  # type: ignore[no-untyped-call]


def page_schema(rows: Mapping[str, Any]) -> dict[str, Any]:
    """What `common.pagination` answers."""
    return {
        "type": "object",
        "required": ["data", "has_more", "next_cursor"],
        "properties": {
            "data": rows,
            "has_more": {"type": "boolean"},
            "next_cursor": {"type": ["string", "null"]},
        },
    }


@cache
def routes(resolver: URLResolver) -> Mapping[str, str]:
    """URL names by route as it is written: `/api/keys/<key:id>` -> `api:key`."""
    return dict(_walk(resolver, "/", ""))


def _walk(resolver: URLResolver, prefix: str, namespace: str) -> Iterator[tuple[str, str]]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, path, f"{namespace}{entry.namespace}:" if entry.namespace else namespace)
        elif isinstance(entry, URLPattern) and entry.name:
            yield path, f"{namespace}{entry.name}"


def security(policy: Policy | None, method: str) -> list[dict[str, list[str]]]:
    """OpenAPI's security requirement; empty where anyone may call."""
    if policy is None or policy.is_open(method):
        return []
    people: list[dict[str, list[str]]] = [{"accessToken": []}, {"session": []}]
    scopes = policy.scopes(method)
    if policy.staff_only or scopes is None:
        return people
    return [
        *people,
        *({scheme: [] if scope == ANY else [scope]} for scope in scopes for scheme in ("apiKey", "apiKeyHeader")),
    ]


class AutoSchema(SpectacularAutoSchema):
    """One operation: names, access and errors from our registries."""

    @property
    def _url_name(self) -> str:
        return routes(get_resolver()).get("/" + self.path_regex.lstrip("/"), "")

    @property
    def _policy(self) -> Policy | None:
        return find_policy(self._url_name)

    def get_operation_id(self) -> str:
        """`put_key_rotate`: the method and the URL's name, which both are unique."""
        name = self._url_name.rpartition(":")[2] or "_".join(self._tokenize_path())
        return f"{self.method.lower()}_{name}".replace("-", "_").replace(".", "_")

    def get_tags(self) -> list[str]:
        return ["gateway"] if speaks_openai(self.path) else super().get_tags()

    def get_summary(self) -> str:
        return self._docstring()[0] or self.get_operation_id().replace("_", " ").capitalize()

    def get_description(self) -> str:  # type: ignore[override]
        return self._docstring()[1]

    def _docstring(self) -> tuple[str, str]:
        """First line and the rest of what the method says about itself."""
        handler = getattr(self.view, self.method.lower(), None)
        first, _, rest = (getattr(handler, "__doc__", None) or "").strip().partition("\n")
        return first.strip().rstrip("."), "\n".join(line.strip() for line in rest.strip().splitlines())

    def get_auth(self) -> list[dict[str, list[str]]]:
        return security(self._policy, self.method)

    @property
    def _query(self) -> type[Query] | None:
        declared = getattr(self.view, "query", None)
        if isinstance(declared, Mapping):
            return declared.get(self.method)
        return declared if self.method == "GET" else None

    def get_override_parameters(self) -> list[Any]:
        return [self._query] if self._query not in (None, Query) else []

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        if self.get_auth() and not speaks_openai(self.path):
            parameters.append({"$ref": "#/components/parameters/Organization"})
        return parameters

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        """Ids by their converter, which says the prefix; the rest as drf-spectacular finds them."""
        prefixes = {
            match["name"]: match["converter"]
            for match in PARAMETER.finditer(self.path_regex)
            if get_converters()[match["converter"]].regex.startswith(f"{match['converter']}_")
        }
        rest = [name for name in variables if name not in prefixes]
        others = super()._resolve_path_parameters(rest)  # type: ignore[no-untyped-call]
        return [
            *(
                {"name": name, "in": "path", "required": True, "schema": typeid_schema(prefixes[name])}
                for name in variables
                if name in prefixes
            ),
            *others,
        ]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        if direction == "response":
            for status in sorted(self._problem_statuses()):
                name = "OpenAIError" if speaks_openai(self.path) else f"Problem{status}"
                responses.setdefault(str(status), {"$ref": f"#/components/responses/{name}"})
        return responses

    def _get_response_for_code(
        self, serializer: Any, status_code: str, media_types: Any = None, direction: Any = "response"
    ) -> dict[str, Any]:
        """A list with a cursor is answered as a page of rows."""
        response: dict[str, Any] = super()._get_response_for_code(serializer, status_code, media_types, direction)  # type: ignore[no-untyped-call]
        if self._query is not None and issubclass(self._query, PageQuery):
            for content in response.get("content", {}).values():
                if content.get("schema", {}).get("type") == "array":
                    content["schema"] = page_schema(content["schema"])
        return response

    def _problem_statuses(self) -> set[int]:
        statuses = {429, 500}
        if self.get_override_parameters():
            statuses.add(400)
        if "<" in self.path_regex:
            statuses.add(404)
        if self._get_request_body():  # type: ignore[no-untyped-call]
            statuses |= {400, 413, 415, 422}
        policy = self._policy
        if policy is None or not policy.is_open(self.method):
            statuses |= {401, 403}
        view: Any = self.view
        return statuses | {problem.status for problem in view.problems}


def finish(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The last hook of drf-spectacular: what every operation refers to."""
    components = result.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    components["parameters"] = {"Organization": ORGANIZATION_PARAMETER}
    components.setdefault("schemas", {}).update(Problem=PROBLEM_SCHEMA, OpenAIError=OPENAI_ERROR_SCHEMA)
    components["responses"] = {f"Problem{status}": _response(status) for status in sorted(_statuses())}
    components["responses"]["OpenAIError"] = {
        "description": "Any error, in OpenAI's envelope.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}},
    }
    return result


def _statuses() -> set[int]:
    return {problem.status for problem in REGISTRY.values()}


def _response(status: int) -> dict[str, Any]:
    """One reusable answer: every registered code of a status, each with its document as an example."""
    problems = sorted((problem for problem in REGISTRY.values() if problem.status == status), key=lambda p: p.code)
    headers: dict[str, Any] = {"x-request-id": {"schema": {"type": "string"}}}
    if status in (429, 503):
        headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds."}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    return {
        "description": PHRASES.get(status) or HTTPStatus(status).phrase,
        "headers": headers,
        "content": {
            CONTENT_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {problem.code: {"value": _example(problem)} for problem in problems},
            }
        },
    }


def _example(problem: type[Problem]) -> dict[str, Any]:
    return {
        "type": f"/docs/errors#{problem.code}",
        "title": str(problem.title),
        "status": problem.status,
        "code": problem.code,
        "detail": str(problem.explanation),
        "request_id": "req_01jdbm3x5kfa7s6bhq0v9w2c8e",
    }
