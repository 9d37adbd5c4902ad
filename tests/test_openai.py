"""The unmodified `openai` package as the oracle of the `/v1` surface."""

from decimal import Decimal

import openai
import pytest

from tests.client import Client, make_key, sign_up

HELLO = [{"role": "user", "content": "Hello, I feel sad today."}]


@pytest.fixture(scope="module")
def key(stack):
    return make_key(sign_up(stack, "openai@example.org"))


@pytest.fixture(scope="module")
def client(stack, key):
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key.credential, max_retries=0)


def receipt(key: Client, request_id: str) -> dict:
    answer = key.get(f"/v1/requests/{request_id}")
    assert answer.status == 200, answer
    return answer.json


def test_models_can_be_listed_and_retrieved(client):
    ids = [model.id for model in client.models.list()]
    assert {"demo/eliza", "demo/embed"} <= set(ids)
    assert "demo/sentiment" not in ids, "a JSON model is not called under /v1"
    assert client.models.retrieve("demo/eliza").owned_by == "demo"


def test_a_plain_completion(client, key):
    answer = client.chat.completions.create(model="demo/eliza", messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    found = receipt(key, answer._request_id)
    assert found["usage"]["output_tokens"] == answer.usage.completion_tokens


def test_a_stream_carries_usage_and_cost_on_its_last_chunk_with_choices(client, key):
    with client.chat.completions.with_streaming_response.create(
        model="demo/eliza", messages=HELLO, stream=True
    ) as response:
        request_id = response.headers["x-request-id"]
        chunks = list(response.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text
    assert all(chunk.choices for chunk in chunks), "no extra chunk for a client that did not ask for usage"
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    found = receipt(key, request_id)
    assert Decimal(str(chunks[-1].usage.cost)) == Decimal(found["cost"]["amount"])
    assert found["streamed"] is True
    assert found["first_token_ms"] is not None


def test_a_client_that_asks_for_usage_gets_the_extra_chunk(client):
    chunks = list(
        client.chat.completions.create(
            model="demo/eliza", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].usage.cost > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_embeddings(client, key):
    answer = client.embeddings.create(model="demo/embed", input=["one", "two"])
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0
    again = client.embeddings.create(model="demo/embed", input=["one", "two"])
    assert again.data[0].embedding == answer.data[0].embedding
    assert answer.usage.prompt_tokens > 0


def test_max_tokens_is_honoured(client):
    answer = client.chat.completions.create(model="demo/eliza", messages=HELLO, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2


def test_unknown_fields_pass_through(client):
    answer = client.chat.completions.create(
        model="demo/eliza", messages=HELLO, extra_body={"a_future_field": {"x": [1]}}, temperature=0.3, user="u"
    )
    assert answer.choices


def test_an_unknown_key_is_an_authentication_error(stack):
    wrong = openai.OpenAI(base_url=f"{stack.url}/v1", api_key="agr_live_nonsense", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as raised:
        wrong.chat.completions.create(model="demo/eliza", messages=HELLO)
    assert raised.value.code == "key_malformed"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="demo/none", messages=HELLO)
    assert raised.value.code == "model_not_found"
    assert raised.value.request_id.startswith("req_")


def test_input_that_does_not_fit_names_the_field(client):
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(model="demo/eliza", messages="hello")
    assert raised.value.param == "messages"


def test_a_json_model_says_where_it_is_called(client):
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(model="demo/sentiment", messages=HELLO)
    assert raised.value.code == "wrong_protocol"
    assert "/invoke" in raised.value.message


def test_a_spend_limit_is_402_and_is_not_tried_again(stack):
    key = make_key(
        sign_up(stack, "poor@example.org"), spend_limit={"amount": "0.000001", "currency": "USD", "window": "month"}
    )
    patient = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key.credential, max_retries=2)
    with pytest.raises(openai.APIStatusError) as raised:
        patient.chat.completions.create(model="demo/eliza", messages=HELLO)
    assert raised.value.status_code == 402
    assert raised.value.code == "spend_limit_reached"
    assert raised.value.body["limit_source"] == "key"
    assert raised.value.body["type"] == "insufficient_quota"
