"""Whose right to call ends is refused within a second, by a running gateway; and how the use of a key is noted."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from accounts import services as accounts
from accounts.models import Membership, User
from accounts.tests.factories import make_client
from apikeys import services as apikeys
from apikeys.models import APIKey
from apikeys.tests.factories import make_key, make_person
from common import clock
from gateway.hotpath import call as call_module
from gateway.hotpath.orm import run_in_django
from gateway.services import set_endpoint
from gateway.tests.asgi import Request, running_app
from marketplace.services import Terms
from marketplace.tests.factories import make_model

WITHIN_SECONDS = 1.0


@pytest.fixture(scope="module")
def path(database: str, settings_of_module: None, upstream: Any) -> str:
    """Where a free model of somebody else's is called."""
    publisher = make_person().personal_organization
    model = make_model(publisher=publisher, status="published", pricing=Terms(type="free"))
    set_endpoint(ai_model=model, url=upstream.url, protocol="json", timeout_seconds=5)
    return f"/api/models/{model.public_id}/invoke"


@pytest.fixture
def team(path: str) -> SimpleNamespace:
    """An organization of two, and a key that the one who is no owner made."""
    owner, maker = make_person(), make_person()
    organization = accounts.create_organization(owner=owner, name="Team")
    place = accounts.add_member(organization=organization, user=maker, role=Membership.Role.DEVELOPER)
    key, secret = make_key(user=maker, organization=organization)
    return SimpleNamespace(owner=owner, maker=maker, organization=organization, place=place, key=key, secret=secret)


ENDS = {
    "revoked": (lambda team: apikeys.revoke_key(key=team.key), 401, "key_revoked"),
    "rotated": (lambda team: apikeys.rotate_key(key=team.key, overlap_seconds=0), 401, "key_unknown"),
    "expired": (lambda team: APIKey.objects.filter(pk=team.key.pk).update(expires_at=clock.now()), 401, "key_expired"),
    "maker removed": (
        lambda team: accounts.remove_member(membership=team.place, by=team.owner),
        401,
        "invalid_credentials",
    ),
    "maker left": (
        lambda team: accounts.leave_organization(organization=team.organization, user=team.maker),
        401,
        "invalid_credentials",
    ),
    "maker deactivated": (
        lambda team: User.objects.filter(pk=team.maker.pk).update(is_active=False),
        401,
        "invalid_credentials",
    ),
    "maker closed the account": (lambda team: accounts.close_account(user=team.maker), 401, "key_revoked"),
    "maker’s role changed": (
        lambda team: accounts.change_role(membership=team.place, role=Membership.Role.BILLING, by=team.owner),
        403,
        "missing_scope",
    ),
    "organization closed": (
        lambda team: accounts.end_organization(organization=team.organization, at=clock.now()),
        401,
        "invalid_credentials",
    ),
    "other addresses alone": (
        lambda team: apikeys.change_key(key=team.key, changes={"allowed_ips": ["203.0.113.0/24"]}),
        403,
        "ip_not_allowed",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_whose_right_ends_is_refused_within_a_second(end: str, team: SimpleNamespace, path: str):
    act, status, code = ENDS[end]

    async def scenario() -> Request:
        async with running_app() as app:
            assert (await Request(path, {"text": "x"}, team.secret)(app)).status == 200
            await run_in_django(act, team)
            ended = time.monotonic()
            while True:
                began = time.monotonic()
                answer = await Request(path, {"text": "x"}, team.secret)(app)
                if answer.status != 200:
                    return answer
                assert began - ended <= WITHIN_SECONDS
                await asyncio.sleep(0.02)

    answer = asyncio.run(scenario())
    assert (answer.status, answer.code) == (status, code)
    in_rest = make_client(authorization=f"Bearer {team.secret}").get("/v1/models")
    assert in_rest.status_code in (status, 200), "200: what the key may still do there"
    assert status != 401 or in_rest.json()["error"]["code"] == code


def test_a_key_acts_for_its_own_organization_alone(team: SimpleNamespace, path: str):
    async def scenario() -> list[int]:
        async with running_app() as app:
            asked = [team.organization.public_id, team.owner.personal_organization.public_id, "org_x"]
            headers = [[(b"agorai-organization", one.encode())] for one in asked]
            return [(await Request(path, {"text": "x"}, team.secret, headers=one)(app)).status for one in headers]

    assert asyncio.run(scenario()) == [200, 403, 403]


def test_a_parameter_that_is_none_is_named(team: SimpleNamespace, path: str):
    async def scenario() -> Request:
        async with running_app() as app:
            return await Request(path, {"text": "x"}, team.secret, query=b"stream=true")(app)

    answer = asyncio.run(scenario())
    assert (answer.status, answer.code) == (400, "invalid_parameter")
    assert answer.json["errors"][0]["pointer"] == "/stream"


def test_the_uses_of_a_key_are_written_together(team: SimpleNamespace, path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(call_module, "NOTE_SECONDS", 3600)  # not before the process ends
    agents = [b"curl/8.5.0", b"OpenAI/Python 3.54.0", b"curl/8.5.0"]

    async def scenario() -> None:
        async with running_app() as app:
            for agent in agents:
                request = Request(path, {"text": "x"}, team.secret, headers=[(b"user-agent", agent)])
                assert (await request(app)).status == 200
            assert await run_in_django(last_use) is None

    def last_use() -> Any:
        return APIKey.objects.get(pk=team.key.pk).last_used_at

    asyncio.run(scenario())
    key = APIKey.objects.get(pk=team.key.pk)
    assert key.last_used_at is not None
    assert clock.now() - key.last_used_at < timedelta(minutes=1)
    assert (key.last_used_client, key.last_used_address) == ("curl 8.5.0", "127.0.0.1")
    assert sorted(key.clients.values_list("client", flat=True)) == ["curl 8.5.0", "openai-python 3.54.0"]
