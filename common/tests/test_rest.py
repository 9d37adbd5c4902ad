import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID, uuid5

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import QueryDict
from django.test import Client
from django.urls import path, resolve
from rest_framework.authentication import BaseAuthentication
from rest_framework.response import Response

from common import ids, rest
from common.limits import Route
from common.policy import Policy
from common.problems import InvalidCredentials, InvalidParameter
from common.rest import APIView, Query, Serializer

ID = UUID("01936d3b-7c00-7000-8000-000000000001")


class ThingIn(Serializer):
    name = rest.CharField(max_length=20)
    count = rest.IntegerField(min_value=0, default=1)
    is_open = rest.BooleanField(default=True)
    price = rest.MoneyField(required=False)
    owner = rest.TypeIDField("usr", required=False)
    ends_at = rest.DateTimeField(required=False)


class ThingsQuery(Query):
    limit = rest.IntegerField(min_value=1, max_value=100, default=20)
    facets = rest.BooleanField(default=False)
    supports = rest.ListField(child=rest.CharField(), default=list)


class ByHeader(BaseAuthentication):
    """Stands for what the apps above bring along: a name in a header is a person, any other value is refused."""

    def authenticate(self, request):
        name = request.headers.get("x-test-user")
        if name is None:
            return None
        if name == "wrong":
            raise InvalidCredentials()
        user = SimpleNamespace(pk=uuid5(ID, name), is_authenticated=True, is_staff=False, platform_role="consumer")
        return user, None


class Things(APIView):
    query = ThingsQuery
    authentication_classes = (ByHeader,)

    def get(self, request):
        return Response({**self.params, "actor": self.actor.user.pk if self.actor.user else None})

    def post(self, request):
        values = self.read(ThingIn)
        return Response(values, status=201)


class Anything(APIView):
    authentication_classes = ()
    max_body_bytes = 100

    def post(self, request):
        return Response({"body": self.body()})


class Broken(APIView):
    authentication_classes = ()

    def get(self, request):
        raise ZeroDivisionError


class Login(APIView):
    authentication_classes = ()

    def post(self, request):
        return Response({})


def resolve_membership(user, organization_id):
    return SimpleNamespace(pk=ID), "owner"


urlpatterns = [
    path("api/things", Things.as_view(), name="things"),
    path("api/mine", Things.as_view(), name="mine"),
    path("api/anything", Anything.as_view(), name="anything"),
    path("api/broken", Broken.as_view(), name="broken"),
    path("api/login", Login.as_view(), name="login"),
    path("v1/things", Things.as_view(), name="v1-things"),
]
ACCESS = {
    "things": Policy.public(),
    "v1-things": Policy.public(),
    "anything": Policy.public(),
    "broken": Policy.public(),
    "login": Policy.public(),
    "mine": Policy.signed_in(),
}
ROUTES = {
    "login": Route("auth", "AUTH_RATE_PER_MINUTE", by_network=True),
    "v1-*": Route("dear", share=2, when=lambda request: "limit" in request.GET),
}
handler500 = "observability.views.server_error"


@pytest.fixture(autouse=True)
def site(settings):
    settings.ROOT_URLCONF = __name__
    settings.ACCESS_TABLE = f"{__name__}.ACCESS"
    settings.LIMITS_TABLE = f"{__name__}.ROUTES"
    settings.ACTOR_RESOLVER = f"{__name__}.resolve_membership"
    settings.API_RATE_PER_MINUTE = settings.AUTH_RATE_PER_MINUTE = 10_000


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def post(client, body, address="/api/things", content_type="application/json", **extra):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(address, raw, content_type=content_type, **extra)


def faults(response):
    return {fault["pointer"]: fault["code"] for fault in response.json()["errors"]}


class TestBody:
    def test_values_arrive_as_what_they_mean(self, client):
        response = post(
            client,
            {
                "name": "Ada",
                "count": 3,
                "is_open": False,
                "price": {"amount": "0.00068", "currency": "USD"},
                "owner": ids.encode("usr", ID),
                "ends_at": "2026-12-01T00:00:00+01:00",
            },
        )

        assert response.status_code == 201
        assert response.json() == {
            "name": "Ada",
            "count": 3,
            "is_open": False,
            "price": 680_000,
            "owner": str(ID),
            "ends_at": "2026-11-30T23:00:00Z",
        }

    def test_an_unknown_field_names_the_nearest(self, client):
        response = post(client, {"nmae": "Ada", "name": "Ada"})

        assert response.status_code == 422
        assert response.json()["errors"] == [
            {"pointer": "/nmae", "code": "unknown_field", "detail": "There is no field “nmae”. Did you mean “name”?"}
        ]

    def test_every_fault_is_named_at_once(self, client):
        response = post(
            client,
            {
                "count": -1,
                "is_open": "yes",
                "owner": "org_1",
                "ends_at": 5,
                "price": {"amount": 0.1, "currency": "EUR", "tax": 1},
                "zzz": None,
            },
        )

        assert response.status_code == 422
        assert response["Content-Type"] == "application/problem+json"
        assert faults(response) == {
            "/name": "required",
            "/count": "min_value",
            "/is_open": "invalid",
            "/owner": "invalid",
            "/ends_at": "invalid",
            "/price/amount": "invalid_amount",
            "/price/currency": "wrong_currency",
            "/price/tax": "unknown_field",
            "/zzz": "unknown_field",
        }

    @pytest.mark.parametrize(
        "values",
        [
            {"name": 5},
            {"name": True},
            {"name": None},
            {"name": ["Ada"]},
            {"name": {"first": "Ada"}},
            {"name": ""},
            {"name": "x" * 21},
            {"count": "3"},
            {"count": True},
            {"count": 1.5},
            {"count": 2**63},
            {"count": 10**60},
            {"count": None},
            {"is_open": 1},
            {"is_open": []},
            {"owner": "usr_" + "z" * 26},
            {"owner": 7},
            {"ends_at": "tomorrow"},
            {"ends_at": "0001-01-01T00:00:00+23:59"},
            {"ends_at": "2026-02-30T00:00:00Z"},
            {"price": "5.00"},
            {"price": {}},
            {"price": {"amount": "1e3"}},
            {"price": {"amount": "0.0000000001"}},
            {"price": {"amount": "9999999999999.00"}},
            {"price": {"amount": "-1.00"}},
            {"price": {"amount": True}},
            {"price": {"amount": "1.00", "currency": ["USD"]}},
        ],
    )
    def test_wrong_values_are_refused(self, client, values):
        response = post(client, {"name": "Ada", **values})

        assert response.status_code == 422
        assert all(pointer.startswith(f"/{next(iter(values))}") for pointer in faults(response))

    @pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null", b"true"])
    def test_a_body_is_an_object(self, client, body):
        response = post(client, body)

        assert response.status_code == 422
        assert response.json()["errors"][0]["detail"].startswith("Send an object, not ")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b'{"name": ', "invalid_json"),
            (b"\xff\xfe", "invalid_json"),
            (b'{"name": "a\\u0000b"}', "nul"),
            (b'{"name": "\\ud800"}', "surrogate"),
            (b'{"name": "Ada", "name": "Bob"}', "duplicate_key"),
            (b'{"name": NaN}', "number_out_of_range"),
            (b"[" * 5_000 + b"]" * 5_000, "too_deep"),
        ],
    )
    def test_what_is_not_safe_json_is_a_400_that_says_why(self, client, body, code):
        response = post(client, body)

        assert response.status_code == 400
        assert response.json()["code"] == "invalid_json"
        assert response.json()["errors"][0]["code"] == code

    def test_a_missing_body_is_said_to_be_missing(self, client):
        response = post(client, b"")

        assert response.status_code == 422
        assert response.json()["detail"] == "The request has no body; send a JSON object."

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    )
    def test_another_format_is_a_415(self, client, content_type):
        response = post(client, b"name=Ada", content_type=content_type)

        assert response.status_code == 415
        assert response.json()["code"] == "unsupported_media_type"

    def test_ten_megabytes_are_refused(self, client):
        response = post(client, b'{"name": "' + b"x" * 10_000_000 + b'"}')

        assert response.status_code == 413
        assert response.json()["max_bytes"] == rest.MAX_BODY_BYTES

    def test_a_view_may_take_less(self, client):
        assert post(client, {"a": "x" * 80}, "/api/anything").status_code == 200
        assert post(client, {"a": "x" * 100}, "/api/anything").status_code == 413

    def chunked(self, raw):
        headers = [(b"transfer-encoding", b"chunked"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/api/anything", "query_string": b"", "headers": headers}
        request = ASGIRequest(scope, io.BytesIO(raw))
        request.resolver_match = resolve("/api/anything")
        return Anything.as_view()(request)

    def test_a_body_without_a_length_is_read_and_limited_all_the_same(self):
        assert self.chunked(b'{"a": 1}').data == {"body": {"a": 1}}
        assert self.chunked(b"x" * 101).status_code == 413

    def test_where_it_cannot_be_read_the_length_is_asked_for(self, client):
        response = client.post("/api/anything", CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")

        assert (response.status_code, response.json()["code"]) == (411, "length_required")

    def test_any_json_may_be_a_body(self, client):
        assert post(client, [1, "a"], "/api/anything").json() == {"body": [1, "a"]}


class TestQuery:
    def test_values_are_read_and_defaults_filled_in(self, client):
        response = client.get("/api/things?facets=true&supports=tools,vision&supports=audio")

        assert response.json() == {
            "limit": 20,
            "facets": True,
            "supports": ["tools", "vision", "audio"],
            "actor": None,
        }

    def test_an_unknown_parameter_names_the_nearest(self, client):
        response = client.get("/api/things?limti=5")

        assert response.status_code == 400
        assert response.json()["code"] == "invalid_parameter"
        assert response.json()["errors"] == [
            {
                "pointer": "/limti",
                "code": "unknown_parameter",
                "detail": "There is no parameter “limti”. Did you mean “limit”?",
            }
        ]

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=1&limit=2", "facets=maybe", "limit=1%00"]
    )
    def test_unfit_values_are_a_400_that_names_the_parameter(self, client, query):
        response = client.get(f"/api/things?{query}")

        assert response.status_code == 400
        assert list(faults(response)) == [f"/{query.partition('=')[0]}"]

    def test_a_method_without_declared_parameters_takes_none(self, client):
        assert post(client, {"name": "Ada"}, "/api/things?limit=5").status_code == 400

    def test_nul_and_lone_surrogates_are_refused(self):
        class Search(Query):
            q = rest.CharField()

        for text in ("a\0b", "\ud800"):
            given = QueryDict(mutable=True)
            given["q"] = text
            with pytest.raises(InvalidParameter):
                rest.read_query(Search, given)


class TestAnswer:
    def test_every_answer_has_a_request_id(self, client):
        response = client.get("/api/things?nope=1")

        assert response["x-request-id"] == response.json()["request_id"]
        assert ids.decode("req", response["x-request-id"])

    def test_it_is_utf_8_and_not_stored(self, client):
        response = post(client, {"name": "Zoë ☂"})

        assert "Zoë ☂".encode() in response.content
        assert response["Cache-Control"] == "no-store"

    def test_another_method_is_a_405_with_those_allowed(self, client):
        for address in ("/api/things", "/api/mine"):
            response = client.delete(address)
            assert response.status_code == 405
            assert response["Allow"] == "GET, POST, HEAD"

    def test_a_format_nobody_offers_is_a_406(self, client):
        assert client.get("/api/things", headers={"accept": "application/xml"}).json()["code"] == "not_acceptable"

    def test_openai_clients_get_their_envelope(self, client):
        response = client.get("/v1/things?nope=1")

        assert response["Content-Type"] == "application/json"
        assert response.json()["error"]["param"] == "nope"

    def test_a_bug_is_a_500_that_gives_nothing_away(self, client):
        response = client.get("/api/broken")

        assert response.status_code == 500
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "internal_error"
        assert "ZeroDivision" not in response.content.decode()


class TestAccess:
    def test_the_anonymous_are_asked_who_they_are(self, client):
        response = client.get("/api/mine")

        assert response.status_code == 401
        assert response.json()["code"] == "not_authenticated"
        assert response["WWW-Authenticate"].startswith("Bearer")

    def test_the_known_are_served(self, client):
        assert client.get("/api/mine", headers={"x-test-user": "ada"}).json()["actor"] == str(uuid5(ID, "ada"))

    def test_an_unauthorized_body_is_not_read(self, client):
        assert post(client, b"{", "/api/mine").status_code == 401


class TestRate:
    def test_requests_beyond_the_limit_wait(self, client, settings):
        settings.API_RATE_PER_MINUTE = 2
        headers = {"x-test-user": f"ada-{ids.uuid7()}"}

        first, second, third = (client.get("/api/things", headers=headers) for _ in range(3))

        assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
        assert first["RateLimit-Policy"] == '"person";q=2;w=60'
        assert first["RateLimit"].startswith('"person";r=1;t=')
        assert first["x-ratelimit-limit-requests"] == "2"
        assert third["RateLimit"].startswith('"person";r=0;t=')
        assert third["x-ratelimit-remaining-requests"] == "0"
        assert int(third["Retry-After"]) in range(1, 31)
        assert int(third["retry-after-ms"]) in range(1, 30_001)
        assert third.json()["code"] == "rate_limited"
        assert third.json()["limit_source"] == "person"
        assert (third.json()["limit"], third.json()["period_seconds"]) == (2, 60)
        assert "2 requests a minute" in third.json()["detail"]

    def test_dear_addresses_have_a_limit_of_their_own_beside_it(self, client, settings):
        settings.API_RATE_PER_MINUTE = 4
        headers = {"x-test-user": f"ada-{ids.uuid7()}"}

        answers = [client.get("/v1/things?limit=1", headers=headers) for _ in range(3)]
        cheap = client.get("/v1/things", headers=headers)

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0]["RateLimit-Policy"] == '"dear";q=2;w=60, "person";q=4;w=60'
        assert answers[2].json()["error"]["limit_source"] == "dear"
        assert (cheap.status_code, cheap["RateLimit-Policy"]) == (200, '"person";q=4;w=60')
        assert cheap["RateLimit"].startswith('"person";r=1;'), "what was refused took nothing"

    @pytest.mark.parametrize(
        ("address", "network"),
        [("/api/nowhere", "192.0.2.1"), ("/v1/nowhere", "192.0.2.2"), ("/api/things", "192.0.2.3")],
    )
    def test_what_no_view_counted_draws_from_the_network(self, client, settings, address, network):
        settings.API_RATE_PER_MINUTE = 2
        headers = {"REMOTE_ADDR": network}

        answers = [client.delete(address, **headers) for _ in range(3)]

        assert [answer.status_code for answer in answers][1:] == [answers[0].status_code, 429]
        assert answers[0].status_code in (404, 405)
        for answer in answers:
            assert answer["RateLimit-Policy"] == '"network";q=2;w=60'
            assert answer["x-ratelimit-limit-requests"] == "2"
        assert answers[2]["Retry-After"]
        assert ("error" in answers[2].json()) == address.startswith("/v1")

    def test_another_person_has_a_bucket_of_their_own(self, client, settings):
        settings.API_RATE_PER_MINUTE = 1
        for name in (f"ada-{ids.uuid7()}", f"bob-{ids.uuid7()}"):
            assert client.get("/api/things", headers={"x-test-user": name}).status_code == 200

    def test_guesses_of_credentials_draw_from_the_address(self, client, settings):
        settings.API_RATE_PER_MINUTE = 2
        guess = {"x-test-user": "wrong"}

        answers = [client.get("/api/mine", headers=guess, REMOTE_ADDR="192.0.2.17").status_code for _ in range(3)]

        assert answers == [401, 401, 429]

    def test_signing_in_has_a_limit_of_its_own_by_network(self, client, settings):
        settings.AUTH_RATE_PER_MINUTE = 1

        answers = [
            client.post("/api/login", {}, content_type="application/json", REMOTE_ADDR=address).status_code
            for address in ("2001:db8:17::1", "2001:db8:17::2", "2001:db8:18::1")
        ]

        assert answers == [200, 429, 200]


def test_money_is_written_as_read():
    assert rest.MoneyField().to_representation(680_000) == {"amount": "0.00068", "currency": "USD"}


def test_instants_leave_in_utc():
    at = datetime(2026, 11, 30, 23, 0, tzinfo=UTC)

    assert rest.DateTimeField().to_representation(at) == "2026-11-30T23:00:00Z"


def test_the_choice_of_names_is_listed_where_none_is_near():
    assert rest.unknown_name("field", "qqqq", ["name", "age"]) == "There is no field “qqqq”. Valid: age, name."
