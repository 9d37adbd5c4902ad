"""A publisher's story: list a model, connect an endpoint, publish it, be found, be called, change the price."""

import base64
import hashlib
import hmac

import pytest

from gateway.tests.upstream import FakeUpstream
from tests.client import Client, make_key, sign_up

DRAFT = {
    "name": "Shouter",
    "description": "Says the same thing, **louder**.",
    "version": "1.0.0",
    "category": "other",
    "capabilities": ["fun"],
    "api_spec": {
        "input": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "maxLength": 100}}},
        "output": {"type": "object", "required": ["loud"], "properties": {"loud": {"type": "string"}}},
    },
    "pricing": {"type": "paid", "rates": {"per_call": "0.002"}},
}


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream(answer={"loud": "HELLO"}) as found:
        yield found


@pytest.fixture(scope="module")
def site(stack, upstream):
    """A gateway whose operator lets publishers use this test's upstream."""
    return stack.start_gateway(OUTBOUND_ALLOWED_NETWORKS=f"127.0.0.1/32:{upstream.port}", OUTBOUND_ALLOW_HTTP="true")


@pytest.fixture(scope="module")
def publisher(stack, site):
    person = sign_up(stack, "publisher@example.org", name="Grace Hopper")
    assert person.post("/api/models", DRAFT).status == 403, "a consumer may not publish"
    answer = person.post("/api/auth/become-developer")
    assert answer.status == 200, answer
    return Client(site, person.credential)


@pytest.fixture(scope="module")
def stranger(stack, site):
    return Client(site, sign_up(stack, "publish-stranger@example.org").credential)


@pytest.fixture(scope="module")
def model(publisher, upstream):
    """The published model, on its way there checked at each step."""
    made = publisher.post("/api/models", DRAFT)
    assert made.status == 201, made
    model = made.json
    assert model["status"] == "draft"
    assert model["callable"] is False
    assert Client(publisher.url).get(f"/api/models/{model['id']}").status == 404, "a draft is nobody else's business"

    assert publisher.post(f"/api/models/{model['id']}/submit").status in (200, 409)
    endpoint = {"url": f"{upstream.url}/shout", "protocol": "json", "secret": "s3cret"}
    answer = publisher.put(f"/api/models/{model['id']}/endpoint", endpoint)
    assert answer.status == 200, answer
    assert "s3cret" not in answer.body.decode()
    assert answer.json["has_secret"] is True
    published = publisher.post(f"/api/models/{model['id']}/publish")
    assert published.status == 200, published
    assert published.json["status"] == "published"
    assert published.json["callable"] is True
    return published.json


def test_the_published_model_is_found_and_shown_to_everyone(publisher, model):
    found = Client(publisher.url).get("/api/models?q=shouter")
    assert model["slug"] in [row["slug"] for row in found.json["data"]]
    by_slug = Client(publisher.url).get(f"/api/models/{model['slug'].replace('/', ':')}")
    assert by_slug.json["id"] == model["id"]


def test_a_call_reaches_the_endpoint_signed_and_with_its_secret(publisher, model, upstream, stranger):
    key = make_key(stranger)
    answer = key.post(f"/api/models/{model['id']}/invoke", {"text": "hello"})
    assert answer.status == 200, answer
    assert answer.json == {"loud": "HELLO"}
    assert answer.headers["x-cost-usd"] == "0.002"
    seen = upstream.seen[-1]
    assert seen.path == "/shout"
    assert seen.json == {"text": "hello"}
    assert seen.headers["authorization"] == "Bearer s3cret"
    assert seen.headers["x-agorai-request-id"] == answer.headers["x-request-id"]
    assert key.credential not in str(seen.headers)
    at, signature = (part.partition("=")[2] for part in seen.headers["x-agorai-signature"].split(","))
    secret = publisher.get(f"/api/models/{model['id']}/endpoint").json["signing_secret"]
    signed = f"{at}.{answer.headers['x-request-id']}.".encode() + seen.body
    signing_key = base64.b64decode(secret.removeprefix("whsec_"))
    assert hmac.new(signing_key, signed, hashlib.sha256).hexdigest() == signature


def test_input_that_does_not_fit_never_reaches_the_endpoint(model, upstream, stranger):
    key = make_key(stranger)
    before = len(upstream.seen)
    answer = key.post(f"/api/models/{model['id']}/invoke", {"text": "x" * 101})
    assert answer.status == 422, answer
    assert answer.json["errors"][0]["pointer"] == "/text"
    assert len(upstream.seen) == before


def test_an_answer_that_does_not_fit_is_502_and_free(model, upstream, stranger):
    key = make_key(stranger)
    upstream.answer = {"quiet": "hello"}
    answer = key.post(f"/api/models/{model['id']}/invoke", {"text": "hello"})
    upstream.answer = {"loud": "HELLO"}
    assert (answer.status, answer.json["code"]) == (502, "upstream_invalid_output")
    receipt = key.get(f"/api/requests/{answer.headers['x-request-id']}").json
    assert receipt["rule"]["code"] == "invalid_output"
    assert receipt["cost"]["amount"] == "0.00"


def test_others_may_see_but_not_change_it(model, stranger):
    assert stranger.post("/api/auth/become-developer").status == 200
    answer = stranger.put(f"/api/models/{model['id']}", DRAFT)
    assert answer.status == 403, answer
    assert stranger.delete(f"/api/models/{model['id']}").status == 403
    assert stranger.get(f"/api/models/{model['id']}/endpoint").status == 403


def test_a_changed_interface_needs_a_higher_version(publisher, model):
    changed = DRAFT | {"api_spec": DRAFT["api_spec"] | {"input": {"type": "object", "properties": {}}}}
    answer = publisher.put(f"/api/models/{model['id']}", changed)
    assert answer.status == 409, answer
    answer = publisher.put(f"/api/models/{model['id']}", changed | {"version": "1.1.0"})
    assert answer.status == 200, answer
    assert answer.json["version"] == "1.1.0"
    assert answer.json["callable"] is True, "a new version keeps the endpoint"


def test_moving_the_endpoint_to_another_origin_forgets_the_secret(publisher, model, upstream):
    endpoint = {"url": f"http://localhost:{upstream.port}/shout", "protocol": "json"}
    answer = publisher.put(f"/api/models/{model['id']}/endpoint", endpoint)
    assert answer.status in (200, 422), answer
    if answer.status == 200:
        assert answer.json["has_secret"] is False
