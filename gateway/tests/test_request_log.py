"""Calls of models in the request log, written by a task of the gateway's event loop."""

import asyncio
from uuid import UUID

import pytest

from apikeys.tests.factories import make_key, make_person
from common.ids import decode
from gateway.services import set_endpoint
from gateway.tests.asgi import Request, running_app
from marketplace.services import Terms
from marketplace.tests.factories import make_model
from observability.models import RequestLog
from observability.services import forget_waiting_requests


@pytest.fixture
def key_and_model(database, settings_of_module, upstream):
    person = make_person()
    model = make_model(publisher=person.personal_organization, status="published", pricing=Terms(type="free"))
    set_endpoint(ai_model=model, url=upstream.url, protocol="json", timeout_seconds=5)
    forget_waiting_requests()
    return *make_key(user=person), model


def test_each_call_leaves_a_row_under_its_id(key_and_model):
    key, secret, model = key_and_model
    invoke = f"/api/models/{model.public_id}/invoke"
    agent = [(b"user-agent", b"Robot/1")]
    requests = [
        Request(invoke, {"text": "hunter2"}, secret, headers=agent),
        Request("/v1/chat/completions", {"model": "no/such"}, secret),
        Request(invoke, {"text": "x"}, "agr_live_hunter2"),
        Request(invoke, {"text": "x"}, secret, method="PUT"),
    ]

    async def main() -> None:
        async with running_app() as app:
            for request in requests:
                await request(app)

    asyncio.run(main())

    rows = RequestLog.objects.in_bulk([decode("req", request.answered["x-request-id"]) for request in requests])
    called, missing, stranger, put = (rows[UUID(int=id.int)] for id in sorted(rows))
    assert (called.status, called.route, called.method, called.error_code) == (200, "api:model-invoke", "POST", "")
    assert (called.actor_user_id, called.actor_key_id, called.organization_id) == (
        key.user_id,
        key.id,
        key.organization_id,
    )
    assert (called.address, called.client) == ("127.0.0.1", "Robot/1")
    assert (missing.status, missing.route, missing.error_code) == (404, "api:v1-chat-completions", "model_not_found")
    assert (stranger.status, stranger.actor_key_id, stranger.organization_id) == (401, None, None)
    assert (put.status, put.error_code) == (405, "method_not_allowed")
    assert "hunter2" not in str(list(RequestLog.objects.values()))
