"""A newcomer's story from end to end: sign up, make a key, call models, read the receipt and the usage."""

import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.client import Client, make_key, sign_up

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def person(stack):
    return sign_up(stack, "story@example.org")


@pytest.fixture(scope="module")
def key(person):
    return make_key(person)


def usage_of(client: Client, **figures: int) -> dict:
    """The totals, once they show at least these figures; a settled call shows within 5 seconds."""
    deadline = time.monotonic() + 5
    while True:
        answer = client.get("/api/analytics/usage")
        assert answer.status == 200, answer
        totals = answer.json["totals"]
        if all(totals[name] >= value for name, value in figures.items()):
            return totals
        assert time.monotonic() < deadline, totals
        time.sleep(0.1)


def test_registering_says_the_same_whether_or_not_the_address_is_taken(stack, person):
    client = Client(stack.url)
    body = {"password": "correct horse 42", "name": "Ada Lovelace"}
    taken = client.post("/api/auth/register", {"email": "story@example.org", **body})
    free = client.post("/api/auth/register", {"email": "story-free@example.org", **body})
    assert (taken.status, taken.body) == (free.status, free.body) == (202, b'{"status":"verification_sent"}')


def test_a_key_is_shown_once(stack, person):
    made = person.post("/api/keys", {"name": "once"})
    assert made.status == 201
    secret = made.json["key"]
    assert secret.startswith("agr_live_")
    assert len(secret) == 47
    listed = person.get("/api/keys")
    assert made.json["id"] in [row["id"] for row in listed.json["data"]]
    assert secret not in listed.body.decode()
    assert secret not in person.get(f"/api/keys/{made.json['id']}").body.decode()


def test_the_catalogue_shows_real_models_first(stack):
    answer = Client(stack.url).get("/api/models?q=sentiment")
    assert answer.status == 200, answer
    first = answer.json["data"][0]
    assert first["slug"] == "demo/sentiment"
    assert first["pricing"]["type"] == "free"
    assert first["callable"] is True
    assert first["api_spec"]["input"]["required"] == ["text"]


def test_a_free_call_is_answered_metered_and_costs_nothing(stack, key):
    answer = key.post("/api/models/demo:sentiment/invoke", {"text": "What a wonderful, brilliant day!"})
    assert answer.status == 200, answer
    assert answer.json["label"] == "positive"
    assert answer.headers["x-cost-usd"] == "0.00"
    assert answer.headers["x-model-version"]
    receipt = key.get(f"/v1/requests/{answer.headers['x-request-id']}")
    assert receipt.status == 200, receipt
    assert receipt.json["cost"] == {"amount": "0.00", "currency": "USD"}
    assert receipt.json["rule"]["code"] == "free"
    assert receipt.json["model"]["slug"] == "demo/sentiment"


def test_a_call_priced_per_call_costs_exactly_that(stack, person, key):
    before = usage_of(person)
    answer = key.post("/api/models/demo:language-id/invoke", {"text": "Guten Morgen, wie geht es dir heute?"})
    assert answer.status == 200, answer
    assert answer.json["language"] == "de"
    assert answer.headers["x-cost-usd"] == "0.001"
    receipt = key.get(f"/api/requests/{answer.headers['x-request-id']}").json
    assert receipt["state"] == "final"
    assert receipt["rule"]["code"] == "per_call"
    assert receipt["hold"] == receipt["cost"] == {"amount": "0.001", "currency": "USD"}
    assert receipt["price"]["per_call"] == {"amount": "0.001", "currency": "USD"}
    after = usage_of(person, calls=before["calls"] + 1)
    assert Decimal(after["cost"]["amount"]) - Decimal(before["cost"]["amount"]) == Decimal("0.001")


def test_a_chat_call_is_priced_by_its_tokens(stack, key):
    body = {"model": "demo/eliza", "messages": [{"role": "user", "content": "I am unhappy about my job."}]}
    answer = key.post("/v1/chat/completions", body)
    assert answer.status == 200, answer
    usage = answer.json["usage"]
    receipt = key.get(f"/v1/requests/{answer.headers['x-request-id']}").json
    assert receipt["usage"] == {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "source": "reported",
    }
    due = (usage["prompt_tokens"] * Decimal("0.40") + usage["completion_tokens"] * Decimal("1.20")) / 1_000_000
    assert Decimal(receipt["cost"]["amount"]) == round(due, 9) == Decimal(answer.headers["x-cost-usd"])


def test_a_listing_without_an_endpoint_holds_nothing(stack, person, key):
    models = Client(stack.url).get("/api/models?limit=100").json["data"]
    bare = next(model for model in models if not model["callable"])
    before = usage_of(person)
    answer = key.post(f"/api/models/{bare['id']}/invoke", {"text": "x"})
    assert answer.status == 409, answer
    assert answer.json["code"] == "model_not_callable"
    assert usage_of(person) == before


def test_somebody_elses_key_reads_no_receipt(stack, key):
    call = key.post("/api/models/demo:sentiment/invoke", {"text": "fine"})
    stranger = make_key(sign_up(stack, "stranger@example.org"))
    answer = stranger.get(f"/v1/requests/{call.headers['x-request-id']}")
    assert answer.status == 404
    assert answer.json["error"]["code"] == "receipt_not_found"


def test_a_revoked_key_is_refused_within_a_second(stack, person):
    made = person.post("/api/keys", {"name": "short-lived"}).json
    key = Client(stack.url, made["key"])
    assert key.post("/api/models/demo:sentiment/invoke", {"text": "fine"}).status == 200
    assert person.delete(f"/api/keys/{made['id']}").status == 204
    time.sleep(1.1)
    answer = key.post("/api/models/demo:sentiment/invoke", {"text": "fine"})
    assert (answer.status, answer.json["code"]) == (401, "key_revoked")


def test_an_access_token_may_invoke_too(stack, person):
    answer = person.post("/api/models/demo:sentiment/invoke", {"text": "fine"})
    assert answer.status == 200, answer


def test_answers_name_their_limits(stack, person, key):
    answer = key.post("/api/models/demo:sentiment/invoke", {"text": "fine"})
    assert answer.headers["x-ratelimit-limit-requests"] == stack.environment["API_RATE_PER_MINUTE"]
    answer = make_key(person, rate_limit=600).post("/api/models/demo:sentiment/invoke", {"text": "fine"})
    assert answer.headers["x-ratelimit-limit-requests"] == "600"
    assert "q=600;w=60" in answer.headers["ratelimit-policy"]
    assert "ratelimit" in answer.headers


def test_quickstart_with_curl(stack):
    environment = {
        **os.environ,
        "AGORAI_URL": stack.url,
        "AGORAI_MAIL_DIR": str(stack.mail_dir),
    }
    done = subprocess.run(
        ["bash", str(ROOT / "examples/quickstart.sh")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unmodified_openai_client(stack):
    environment = {**os.environ, "AGORAI_URL": stack.url, "AGORAI_API_KEY": stack.demo["api_key"]}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/openai_client.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
