"""Calls that are refused before the upstream is asked: each with its own code, and nothing held."""

import psycopg
import pytest

from common.ids import decode
from gateway.tests.upstream import FakeUpstream
from tests.client import Client, make_key, sign_up
from tests.test_publish_story import DRAFT

HELLO = {"model": "demo/eliza", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def owner(stack):
    with psycopg.connect(stack.owner_url, autocommit=True) as connection:
        yield connection


def refused(answer, status: int, code: str) -> dict:
    problem = answer.json.get("error", answer.json)
    assert (answer.status, problem["code"]) == (status, code), answer
    return problem


def test_a_key_for_other_models_is_refused(stack):
    person = sign_up(stack, "other-models@example.org")
    key = make_key(person, allowed_models=["demo:embed"])
    refused(key.post("/v1/chat/completions", HELLO), 403, "model_not_allowed")
    assert key.post("/v1/embeddings", {"model": "demo/embed", "input": "x"}).status == 200


def test_a_key_without_the_permission_is_refused(stack):
    key = make_key(sign_up(stack, "reader@example.org"), permissions=["models:read"])
    problem = refused(key.post("/v1/chat/completions", HELLO), 403, "missing_scope")
    assert problem["required_scope"] == "models:invoke"


def test_a_key_from_another_address_is_refused(stack):
    key = make_key(sign_up(stack, "elsewhere@example.org"), allowed_ips=["203.0.113.0/24"])
    refused(key.post("/v1/chat/completions", HELLO), 403, "ip_not_allowed")


def test_a_test_key_pays_nothing_and_calls_only_what_is_open_to_it(stack):
    key = make_key(sign_up(stack, "sandbox@example.org"), mode="test")
    answer = key.post("/api/models/demo:language-id/invoke", {"text": "Buenos dias a todos"})
    assert answer.status == 200, answer
    assert answer.headers["x-cost-usd"] == "0.00"
    receipt = key.get(f"/v1/requests/{answer.headers['x-request-id']}").json
    assert (receipt["mode"], receipt["rule"]["code"]) == ("test", "test_mode")
    made = stack_model(stack, "sandbox-publisher@example.org", pricing={"type": "free"})
    refused(key.post(f"/api/models/{made}/invoke", {"text": "x"}), 403, "test_mode_not_enabled")


def test_credit_that_is_gone_is_402_and_names_itself(stack, owner):
    person = sign_up(stack, "broke@example.org")
    key = make_key(person)
    assert key.post("/api/models/demo:language-id/invoke", {"text": "Hello there"}).status == 200
    organization = decode("org", person.get("/api/auth/me").json["organization"]["id"])
    owner.execute(
        "UPDATE accounts_budget SET \"limit\" = 1500000 WHERE subject_id = %s AND purpose = 'credit'", [organization]
    )
    problem = refused(
        key.post("/api/models/demo:language-id/invoke", {"text": "Hello again"}), 402, "insufficient_credit"
    )
    assert (problem["limit_source"], problem["limit"], problem["used"], problem["needed"]) == (
        "credit",
        "0.0015",
        "0.001",
        "0.001",
    )
    assert key.post("/api/models/demo:sentiment/invoke", {"text": "fine"}).status == 200, "what is free stays open"
    assert person.get("/api/analytics/usage").status == 200, "limits never close the pages that explain them"


def test_a_model_sold_by_subscription_needs_one(stack):
    pricing = {"type": "paid", "amount": "20.00", "period": "monthly"}
    made = stack_model(stack, "subscription@example.org", pricing=pricing)
    key = make_key(sign_up(stack, "no-subscription@example.org"))
    refused(key.post(f"/api/models/{made}/invoke", {"text": "x"}), 402, "subscription_required")


def test_an_unknown_or_hidden_model_is_the_same_404(stack):
    person = sign_up(stack, "hidden@example.org")
    assert person.post("/api/auth/become-developer").status == 200
    hidden = person.post("/api/models", DRAFT | {"name": "Hidden"}).json
    key = make_key(sign_up(stack, "seeker@example.org"))
    found = refused(key.post(f"/api/models/{hidden['id']}/invoke", {"text": "x"}), 404, "model_not_found")
    missing = refused(key.post("/api/models/nobody:nothing/invoke", {"text": "x"}), 404, "model_not_found")
    assert {**found, "request_id": ""} == {**missing, "request_id": ""}


def stack_model(stack, email: str, **values) -> str:
    """A published model whose endpoint nobody answers: these calls end before it."""
    person = Client(stack.url, sign_up(stack, email).credential)
    assert person.post("/api/auth/become-developer").status == 200
    made = person.post("/api/models", DRAFT | {"name": email.partition("@")[0], **values})
    assert made.status == 201, made
    endpoint = {"url": "https://models.example.org/predict", "protocol": "json"}
    answer = person.put(f"/api/models/{made.json['id']}/endpoint", endpoint)
    assert answer.status == 200, answer
    published = person.post(f"/api/models/{made.json['id']}/publish")
    assert published.status == 200, published
    return made.json["id"]


def test_an_inside_address_is_refused_as_an_endpoint(stack):
    person = sign_up(stack, "inside@example.org")
    assert person.post("/api/auth/become-developer").status == 200
    made = person.post("/api/models", DRAFT | {"name": "Inside"}).json["id"]
    with FakeUpstream() as upstream:
        answer = person.put(f"/api/models/{made}/endpoint", {"url": upstream.url, "protocol": "json"})
        refused(answer, 422, "endpoint_refused")
        assert upstream.seen == []
