"""Where a model's page says that it is called: only where it really is."""

import re

import pytest
from django.test import Client

from gateway.tests.factories import make_endpoint
from marketplace.services import add_version
from marketplace.tests.factories import LABEL_OUT, TEXT_IN, make_model

pytestmark = pytest.mark.django_db

MESSAGES, PROMPT, INPUT = (
    {"type": "object", "properties": {name: {"type": "string", "examples": ["Hello."]}}, "required": [name]}
    for name in ("messages", "prompt", "input")
)


def addresses_of(ai_model):
    """The addresses on the page, and what the first block of code there sends to."""
    base = f"/models/{ai_model.publisher.slug}/{ai_model.slug}"
    html = Client().get(f"{base}/api").content.decode()
    paths = re.findall(r'<span class="badge">POST</span><code[^>]*>([^<]*)', html)
    overview = re.sub("<[^>]+>", "", Client().get(base).content.decode())
    assert paths[0] in overview, "the overview calls the same address"
    return paths


@pytest.mark.parametrize(
    ("category", "schema", "protocol", "path"),
    [
        ("chat", MESSAGES, "openai", "/v1/chat/completions"),
        ("translation", MESSAGES, "openai", "/v1/chat/completions"),
        ("code", PROMPT, "openai", "/v1/completions"),
        ("embeddings", INPUT, "openai", "/v1/embeddings"),
        ("chat", MESSAGES, "anthropic", "/v1/messages"),
        ("chat", MESSAGES, "json", None),
        ("text-classification", TEXT_IN, "json", None),
        ("chat", MESSAGES, None, "/v1/chat/completions"),  # no endpoint yet: as it would be
        ("text-classification", MESSAGES, None, None),
    ],
)
def test_addresses_follow_the_endpoint_and_the_input(category, schema, protocol, path):
    ai_model = make_model(category=category, api_spec={"input": schema, "output": LABEL_OUT}, status="published")
    if protocol:
        make_endpoint(ai_model, protocol=protocol)
    invoke = f"/api/models/{ai_model.publisher.slug}:{ai_model.slug}/invoke"
    assert addresses_of(ai_model) == ([path, invoke] if path else [invoke])


def test_a_new_version_keeps_the_endpoint_of_the_one_before_it():
    ai_model = make_model(category="chat", api_spec={"input": MESSAGES, "output": LABEL_OUT}, status="published")
    make_endpoint(ai_model, protocol="json")
    add_version(ai_model=ai_model, version="2.0.0", api_spec={"input": MESSAGES, "output": LABEL_OUT})
    assert len(addresses_of(ai_model)) == 1


def test_the_errors_are_those_that_the_address_answers():
    ai_model = make_model(category="chat", api_spec={"input": MESSAGES, "output": LABEL_OUT}, status="published")
    make_endpoint(ai_model)
    html = Client().get(f"/models/{ai_model.publisher.slug}/{ai_model.slug}/api").content.decode()
    docs = Client().get("/docs/errors").content.decode()
    codes = set(re.findall(r'href="/docs/errors#([a-z_]+)"', html))
    assert {"key_unknown", "validation_failed", "insufficient_credit", "upstream_timeout", "rate_limited"} <= codes
    assert all(f'id="{code}"' in docs for code in codes)
