"""Endpoints, receipts and the list of callable models, through their doors."""

import base64

import pytest
from django.test import Client

from accounts.services import add_member
from apikeys.tests.factories import make_key, make_person
from common.ids import encode
from common.sealing import open_sealed
from gateway.models import Endpoint, Rule
from gateway.tests.factories import make_call, make_endpoint
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def publisher():
    return make_person()


@pytest.fixture
def ai_model(publisher):
    return make_model(publisher=publisher.personal_organization, status="published")


@pytest.fixture
def client(publisher):
    return signed_in(publisher)


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def with_key(**values) -> dict:
    key, secret = make_key(**values)
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}", "key": key}


def put(client, ai_model, **body):
    given = {"url": "https://models.example.org/predict", "protocol": "json", **body}
    return client.put(f"/api/models/{ai_model.public_id}/endpoint", given, content_type="application/json")


def test_an_endpoint_is_set_and_its_secret_never_comes_back(client, ai_model):
    answer = put(client, ai_model, secret="s3cret", timeout_seconds=30, max_cost={"amount": "0.5", "currency": "USD"})
    assert answer.status_code == 200, answer.content
    assert b"s3cret" not in answer.content
    body = client.get(f"/api/models/{ai_model.public_id}/endpoint").json()
    assert body == answer.json()
    assert body["has_secret"] is True
    assert body["max_cost"] == {"amount": "0.50", "currency": "USD"}
    assert len(base64.b64decode(body["signing_secret"].removeprefix("whsec_"))) == 32
    ai_model.refresh_from_db()
    assert ai_model.is_callable


def test_a_secret_is_sealed_for_its_row_and_origin(client, ai_model):
    put(client, ai_model, secret="s3cret")
    endpoint = Endpoint.objects.get()
    assert b"s3cret" not in bytes(endpoint.sealed_secret)
    context = f"gateway_endpoint:{endpoint.id}:secret:https://models.example.org:443"
    assert open_sealed(endpoint.sealed_secret, context) == b"s3cret"


def test_a_secret_is_kept_on_the_same_origin_and_forgotten_on_another(client, ai_model):
    put(client, ai_model, secret="s3cret")
    assert put(client, ai_model, url="https://models.example.org/other").json()["has_secret"] is True
    assert put(client, ai_model, url="https://elsewhere.example.org/other").json()["has_secret"] is False


@pytest.mark.parametrize(
    ("url", "is_kept"),
    [
        ("https://MODELS.example.org:443/predict?x=1", True),
        ("https://models.example.org./predict", True),
        ("https://models.example.org:8443/predict", False),
        ("https://models.example.org.elsewhere.example/predict", False),
        ("https://xn--mdels-jua.example.org/predict", False),
    ],
)
def test_the_origin_is_what_counts_and_not_its_spelling(client, ai_model, url, is_kept):
    put(client, ai_model, secret="s3cret")
    assert put(client, ai_model, url=url).json()["has_secret"] is is_kept
    endpoint = Endpoint.objects.get()
    if is_kept:
        context = f"gateway_endpoint:{endpoint.id}:secret:https://models.example.org:443"
        assert open_sealed(endpoint.sealed_secret, context) == b"s3cret"


@pytest.mark.parametrize(("protocol", "header"), [("anthropic", "x-api-key"), ("openai", "Authorization")])
def test_a_protocol_has_its_usual_header_for_the_secret(client, ai_model, protocol, header):
    assert put(client, ai_model, protocol=protocol, secret="s3cret").json()["auth_header"] == header
    assert put(client, ai_model, protocol=protocol, auth_header="X-Own").json()["auth_header"] == "X-Own"


def test_an_empty_secret_removes_it(client, ai_model):
    put(client, ai_model, secret="s3cret")
    assert put(client, ai_model, secret="").json()["has_secret"] is False


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/",
        "https://user:pw@models.example.org/",
        "ftp://models.example.org/",
        "nonsense",
    ],
)
def test_an_address_that_calls_never_go_to_is_refused_when_it_is_set(client, ai_model, url):
    answer = put(client, ai_model, url=url)
    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"][0]["pointer"] == "/url"
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"protocol": "grpc"}, "/protocol"),
        ({"timeout_seconds": 601}, "/timeout_seconds"),
        ({"auth_header": "Host"}, "/auth_header"),
        ({"auth_header": "Anthropic-Version"}, "/auth_header"),
        ({"auth_header": "X-Agorai-Signature"}, "/auth_header"),
        ({"auth_header": "X\r\nY"}, "/auth_header"),
        ({"secret": "a\r\nb"}, "/secret"),
        ({"max_cost": {"amount": "0", "currency": "USD"}}, "/max_cost/amount"),
        ({"unknown": 1}, "/unknown"),
    ],
)
def test_an_endpoint_that_does_not_fit_names_the_field(client, ai_model, body, pointer):
    answer = put(client, ai_model, **body)
    assert answer.status_code == 422, answer.content
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_others_may_not_touch_an_endpoint(ai_model):
    stranger = signed_in(make_person())
    assert put(stranger, ai_model).status_code == 403
    assert stranger.get(f"/api/models/{ai_model.public_id}/endpoint").status_code == 403


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("developer", 200), ("billing", 403), ("member", 403)])
def test_the_secret_of_an_endpoint_is_shown_to_those_who_may_publish(client, ai_model, role, status):
    assert put(client, ai_model).status_code == 200
    other = make_person()
    add_member(organization=ai_model.publisher, user=other, role=role)
    header = {"HTTP_AGORAI_ORGANIZATION": ai_model.publisher.public_id}
    answer = signed_in(other).get(f"/api/models/{ai_model.public_id}/endpoint", **header)
    assert answer.status_code == status
    assert (b"whsec_" in answer.content) is (status == 200)


def test_the_endpoint_of_a_hidden_model_is_as_missing_as_that_of_none(client):
    hidden = make_model()
    missing = client.get(f"/api/models/{encode('mdl', hidden.current_version_id)}/endpoint").json()
    found = client.get(f"/api/models/{hidden.public_id}/endpoint").json()
    assert {**missing, "request_id": ""} == {**found, "request_id": ""}
    assert found["code"] == "not_found"


# --- Receipts ---


def test_a_receipt_names_price_quantities_hold_and_rule(publisher, client):
    paid = make_model(publisher=publisher.personal_organization, pricing=Terms(type="paid", per_call_nano=2_000_000))
    call = make_call(
        paid, organization=publisher.personal_organization, cost_nano=2_000_000, rule=Rule.PER_CALL, input_tokens=3
    )
    body = client.get(f"/api/requests/{call.public_id}").json()
    assert body["cost"] == body["hold"] == {"amount": "0.002", "currency": "USD"}
    assert body["price"]["id"] == encode("prc", paid.price.id)
    assert body["price"]["per_call"] == {"amount": "0.002", "currency": "USD"}
    assert body["usage"] == {"input_tokens": 3, "output_tokens": 0, "source": "reported"}
    assert body["rule"]["code"] == "per_call"
    assert body == client.get(f"/v1/requests/{call.public_id}").json()


def test_a_key_that_only_invokes_reads_the_receipts_of_its_own_calls(publisher, ai_model):
    mine = with_key(user=publisher, permissions=["models:invoke"])
    own = make_call(ai_model, organization=publisher.personal_organization, api_key=mine.pop("key"))
    other = make_call(ai_model, organization=publisher.personal_organization)
    assert Client().get(f"/v1/requests/{own.public_id}", **mine).status_code == 200
    assert Client().get(f"/v1/requests/{other.public_id}", **mine).status_code == 404
    reader = with_key(user=publisher, permissions=["analytics:read"])
    reader.pop("key")
    assert Client().get(f"/v1/requests/{other.public_id}", **reader).status_code == 200


def test_nobody_reads_the_receipts_of_another_organization(ai_model):
    person, stranger = make_person(), make_person()
    call = make_call(ai_model, organization=person.personal_organization)
    assert signed_in(stranger).get(f"/api/requests/{call.public_id}").status_code == 404
    assert signed_in(stranger).get("/api/requests").json()["data"] == []


def test_requests_are_listed_newest_first_and_by_outcome(publisher, client, ai_model):
    organization = publisher.personal_organization
    good = make_call(ai_model, organization=organization)
    bad = make_call(ai_model, organization=organization, http_status=502, error_code="upstream_error")
    assert [row["id"] for row in client.get("/api/requests").json()["data"]] == [bad.public_id, good.public_id]
    assert [row["id"] for row in client.get("/api/requests?status=error").json()["data"]] == [bad.public_id]
    assert client.get("/api/requests?status=none").status_code == 400


def test_a_list_costs_the_same_queries_for_3_and_30_rows(publisher, client, ai_model, django_assert_num_queries):
    def count() -> int:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as queries:
            assert client.get("/api/requests?limit=100").status_code == 200
        return len(queries)

    for _ in range(3):
        make_call(ai_model, organization=publisher.personal_organization)
    count()  # the first request of a session notes that it is there
    few = count()
    for _ in range(27):
        make_call(ai_model, organization=publisher.personal_organization)
    assert count() == few


# --- The list for OpenAI's clients ---


def test_models_that_speak_openai_are_listed(publisher, ai_model):
    key = with_key(user=publisher)
    key.pop("key")
    assert Client().get("/v1/models", **key).json() == {"object": "list", "data": []}
    make_endpoint(ai_model)
    (listed,) = Client().get("/v1/models", **key).json()["data"]
    slug = f"{ai_model.publisher.slug}/{ai_model.slug}"
    assert (listed["id"], listed["object"], listed["owned_by"]) == (slug, "model", ai_model.publisher.slug)
    assert Client().get(f"/v1/models/{slug}", **key).json() == listed
    missing = Client().get("/v1/models/nobody/nothing", **key)
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


def test_a_key_lists_the_models_that_it_is_for(publisher, ai_model):
    others = [make_model(publisher=publisher.personal_organization, status="published") for _ in range(2)]
    AIModel.objects.filter(pk=others[0].pk).update(test_enabled=True)
    for one in (ai_model, *others):
        make_endpoint(one)
    slugs = [f"{one.publisher.slug}/{one.slug}" for one in (ai_model, *others)]

    def listed(**values):
        key = with_key(user=publisher, **values)
        key.pop("key")
        found = {one["id"] for one in Client().get("/v1/models", **key).json()["data"]}
        assert found - {"agorai/echo"} == {
            slug for slug in slugs if Client().get(f"/v1/models/{slug}", **key).status_code == 200
        }
        return found

    assert listed() == set(slugs)
    assert listed(allowed_models=[ai_model.public_id]) == {slugs[0]}
    assert listed(mode="test") == {slugs[1], "agorai/echo"}
    assert listed(mode="test", allowed_models=[ai_model.public_id]) == set()


def test_a_process_without_the_gateway_says_so(publisher):
    key = with_key(user=publisher)
    key.pop("key")
    answer = Client().post("/v1/chat/completions", {"model": "a/b"}, content_type="application/json", **key)
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "gateway_elsewhere"
