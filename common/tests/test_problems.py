import json
from datetime import UTC, datetime

import pytest
from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404
from django.test import RequestFactory
from rest_framework import exceptions, serializers

from common import problems
from common.problems import NotFound, Problem, RateLimited, ValidationFailed, from_exception

REQUEST_ID = "req_01jdbm3x5kfa7s6bhq0v9w2c8e"


@pytest.fixture
def scratch_registry(monkeypatch):
    """Classes made in a test leave no trace in the registry that the documentation is made from."""
    monkeypatch.setattr(problems, "REGISTRY", dict(problems.REGISTRY))


@pytest.mark.usefixtures("scratch_registry")
class TestRegistry:
    def test_a_class_is_found_by_its_code(self):
        class KeyLimitReached(Problem):
            code, status, title = "test_limit_reached", 402, "Limit reached"
            explanation, fix = "It is used up.", "Raise it."

        assert problems.REGISTRY["test_limit_reached"] is KeyLimitReached

    def test_a_code_is_given_once(self):
        with pytest.raises(TypeError, match="not_found"):
            type("Other", (Problem,), {"code": "not_found"})

    def test_a_subclass_needs_a_code_of_its_own(self):
        with pytest.raises(TypeError, match="code of its own"):
            type("MissingModel", (NotFound,), {})

    def test_extra_members_cannot_replace_the_standard_ones(self):
        with pytest.raises(TypeError, match="status"):
            NotFound(status=200)


class TestDocument:
    def test_it_has_the_members_of_the_contract_in_order(self, settings):
        settings.SITE_URL = "https://ai.example"
        fault = {"pointer": "/max_tokens", "code": "too_large", "detail": "At most 8192."}

        document = problems.document(ValidationFailed("Look.", errors=[fault], limit_source="key"), REQUEST_ID)

        assert list(document.items()) == [
            ("type", "https://ai.example/docs/errors#validation_failed"),
            ("title", "The input does not fit"),
            ("status", 422),
            ("code", "validation_failed"),
            ("detail", "Look."),
            ("limit_source", "key"),
            ("request_id", REQUEST_ID),
            ("errors", [fault]),
        ]

    def test_without_a_detail_it_explains_itself(self):
        assert problems.document(NotFound(), "")["detail"] == NotFound.explanation

    def test_openai_clients_get_their_envelope(self, settings):
        settings.SITE_URL = "https://ai.example"
        fault = {"pointer": "/messages/0/content", "code": "invalid", "detail": "Send a string."}

        envelope = problems.openai_envelope(ValidationFailed("Look.", errors=[fault], limit_source="key"), REQUEST_ID)

        assert envelope == {
            "error": {
                "message": "Look. Send a string.",
                "type": "invalid_request_error",
                "param": "messages[0].content",
                "code": "validation_failed",
                "doc_url": "https://ai.example/docs/errors#validation_failed",
                "limit_source": "key",
                "request_id": REQUEST_ID,
                "errors": [fault],
            }
        }

    @pytest.mark.parametrize("write", [problems.document, problems.openai_envelope])
    def test_a_key_in_the_wrong_place_is_not_repeated(self, write):
        key = "agr_live_" + "7Qx2" * 9 + "ab"
        fault = {"pointer": f"/{key}", "code": "unknown_parameter", "detail": f"There is no parameter “{key}”."}

        told = str(write(ValidationFailed(f"{key}: no.", errors=[fault]), REQUEST_ID))

        assert "7Qx2" not in told
        assert "There is no parameter “agr_live_[hidden]”." in told

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "insufficient_quota"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (409, "conflict_error"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (503, "api_error"),
        ],
    )
    def test_openai_types_follow_the_status(self, status, expected):
        assert problems.openai_type(status) == expected

    @pytest.mark.parametrize(
        ("pointer", "expected"),
        [("", None), ("/model", "model"), ("/tools/1/name", "tools[1].name"), ("/a~1b/c~0d", "a/b.c~d")],
    )
    def test_parameters_are_named_as_openai_names_them(self, pointer, expected):
        assert problems.openai_param(pointer) == expected


class TestHeaders:
    def test_401_says_how_to_authenticate(self):
        assert problems.NotAuthenticated().headers["WWW-Authenticate"].startswith("Bearer realm=")

    def test_a_wait_stands_in_the_header_and_in_the_document(self):
        problem = RateLimited(retry_after_seconds=7)

        assert problem.headers == {"Retry-After": "7", "retry-after-ms": "7000"}
        assert problems.document(problem, "")["retry_after_seconds"] == 7

    def test_a_wait_that_clients_do_not_sit_out_forbids_the_retry(self):
        assert RateLimited(retry_after_seconds=120).headers.get("x-should-retry") is None
        assert RateLimited(retry_after_seconds=121).headers["x-should-retry"] == "false"

    def test_a_conflict_that_stays_one_forbids_the_retry(self):
        assert problems.Conflict().headers["x-should-retry"] == "false"

    def test_statuses_that_clients_do_not_retry_carry_nothing(self):
        assert NotFound().headers == {}

    def test_unavailable_always_says_when_to_come_back(self):
        assert problems.ServiceUnavailable().headers["Retry-After"] == "1"


class Line(serializers.Serializer):
    amount = serializers.IntegerField()


class Order(serializers.Serializer):
    lines = Line(many=True)
    tags = serializers.ListField(child=serializers.IntegerField(), required=False)


class Pair(serializers.Serializer):
    message = serializers.CharField()
    code = serializers.CharField()


class TestPointers:
    def test_positions_in_lists_are_counted(self):
        serializer = Order(data={"lines": [{"amount": 1}, {"amount": "x"}], "tags": [1, "y"]})
        serializer.is_valid()

        problem = from_exception(serializers.ValidationError(serializer.errors))

        assert [fault["pointer"] for fault in problem.errors] == ["/lines/1/amount", "/tags/1"]

    def test_fields_may_be_called_message_and_code(self):
        serializer = Pair(data={})
        serializer.is_valid()

        problem = from_exception(serializers.ValidationError(serializer.errors))

        assert [(fault["pointer"], fault["code"]) for fault in problem.errors] == [
            ("/message", "required"),
            ("/code", "required"),
        ]

    def test_slashes_and_tildes_in_names_are_escaped(self):
        problem = from_exception(serializers.ValidationError({"a/b~c": ["No."]}))

        assert problem.errors[0]["pointer"] == "/a~1b~0c"

    def test_a_fault_of_the_whole_body_points_at_the_body(self):
        problem = from_exception(serializers.ValidationError("No."))

        assert problem.errors == [{"pointer": "", "code": "invalid", "detail": "No."}]

    def test_models_name_their_fields(self):
        error = ModelValidationError({"name": [ModelValidationError("Taken.", code="unique")], "__all__": ["Never."]})

        problem = from_exception(error)

        assert problem.errors == [
            {"pointer": "/name", "code": "unique", "detail": "Taken."},
            {"pointer": "", "code": "invalid", "detail": "Never."},
        ]


class Ratelimited(PermissionDenied):
    """django-ratelimit's exception is known by its name."""


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (Http404(), "not_found"),
        (exceptions.NotFound(), "not_found"),
        (PermissionDenied(), "permission_denied"),
        (exceptions.PermissionDenied(), "permission_denied"),
        (exceptions.PermissionDenied("CSRF Failed: token missing."), "csrf_failed"),
        (Ratelimited(), "rate_limited"),
        (exceptions.NotAuthenticated(), "not_authenticated"),
        (exceptions.AuthenticationFailed(), "invalid_credentials"),
        (exceptions.ParseError(), "invalid_json"),
        (exceptions.MethodNotAllowed("PUT"), "method_not_allowed"),
        (exceptions.NotAcceptable(), "not_acceptable"),
        (exceptions.UnsupportedMediaType("text/plain"), "unsupported_media_type"),
        (exceptions.Throttled(wait=3), "rate_limited"),
        (exceptions.ValidationError("No."), "validation_failed"),
        (DisallowedHost(), "misdirected_request"),
        (RequestDataTooBig(), "payload_too_large"),
        (SuspiciousOperation(), "bad_request"),
    ],
)
def test_exceptions_of_the_frameworks_become_problems(exception, code):
    assert from_exception(exception).code == code


def test_a_bug_is_no_problem():
    assert from_exception(ZeroDivisionError()) is None


class TestAnswers:
    @pytest.mark.parametrize("path", ["/api", "/api/keys", "/api/docs/x"])
    def test_programs_get_a_problem_document(self, path):
        request = RequestFactory().get(path)
        request.request_id = REQUEST_ID

        response = problems.problem_response(RateLimited(retry_after_seconds=3), request)

        assert response.status_code == 429
        assert response["Content-Type"] == "application/problem+json"
        assert response["Retry-After"] == "3"
        assert json.loads(response.content)["request_id"] == REQUEST_ID

    def test_openai_clients_get_their_envelope(self):
        response = problems.problem_response(NotFound(), RequestFactory().get("/v1/models/x"))

        assert json.loads(response.content)["error"]["code"] == "not_found"

    @pytest.mark.parametrize("path", ["/", "/api-docs", "/v10", "/api/docs"])
    def test_people_do_not(self, path):
        assert not problems.is_api_path(path)

    def test_extra_members_may_be_instants_and_ids_as_text(self):
        at = datetime(2026, 11, 30, 23, tzinfo=UTC)
        response = problems.problem_response(NotFound(resets_at=at), RequestFactory().get("/api/x"))

        assert json.loads(response.content)["resets_at"] == "2026-11-30T23:00:00Z"
