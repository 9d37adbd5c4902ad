"""/api/keys as an integrator meets it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apikeys import services
from apikeys.models import APIKey
from apikeys.tests.factories import make_key, make_listing, make_person
from common import clock
from common.ids import encode, uuid7

pytestmark = pytest.mark.django_db

KEY_FIELDS = {
    *("id", "user_id", "organization_id", "name", "prefix", "last_four", "permissions", "mode", "last_used"),
    "last_used_from",
    *("created_at", "expires_at", "revoked_at", "allowed_models", "allowed_ips", "rate_limit", "spend_limit"),
}


class Caller:
    """Speaks JSON with a key."""

    def __init__(self, secret, **headers):
        self.client = Client(headers={"authorization": f"Bearer {secret}", **headers})

    def __getattr__(self, method):
        def call(path, body=None):
            data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
            return getattr(self.client, method)(path, **data)

        return call


@pytest.fixture
def alice():
    """An owner, with a key that may manage keys."""
    key, secret = make_key(permissions=services.PERMISSIONS)
    caller = Caller(secret)
    caller.key, caller.secret, caller.user, caller.organization = key, secret, key.user, key.organization
    return caller


def test_a_key_is_made_shown_once_and_used(alice):
    answer = alice.post("/api/keys", {"name": "laptop"})
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert set(made) == KEY_FIELDS | {"key"}
    assert made["permissions"] == ["models:read", "models:invoke"]
    assert made["mode"] == "live"
    assert made["user_id"] == alice.user.public_id
    assert made["organization_id"] == alice.organization.public_id
    assert made["key"].startswith(made["prefix"])
    assert made["key"].endswith(made["last_four"])
    assert made["expires_at"] is made["revoked_at"] is made["last_used"] is made["spend_limit"] is None
    assert datetime.fromisoformat(made["created_at"]).tzinfo == UTC
    assert answer["Cache-Control"] == "no-store"

    again = alice.get(f"/api/keys/{made['id']}")
    assert again.status_code == 200
    assert set(again.json()) == KEY_FIELDS
    assert made["key"] not in again.content.decode()
    assert made["key"] not in alice.get("/api/keys").content.decode()


def test_every_limit_comes_back_as_it_was_given(alice):
    limits = {
        "permissions": ["models:invoke", "models:read"],
        "mode": "test",
        "expires_at": "2100-01-01T01:00:00+01:00",
        "allowed_ips": ["203.0.113.8"],
        "rate_limit": 60,
        "spend_limit": {"amount": "5", "currency": "USD"},
    }
    made = alice.post("/api/keys", {"name": "limited", **limits}).json()
    assert made["permissions"] == ["models:read", "models:invoke"]
    assert made["key"].startswith("agr_test_")
    assert made["expires_at"] == "2100-01-01T00:00:00Z"
    assert made["allowed_ips"] == ["203.0.113.8/32"]
    assert made["rate_limit"] == 60
    assert made["spend_limit"] == {"amount": "5.00", "currency": "USD", "window": "month"}


def test_models_are_named_by_id_or_slug_and_answered_as_ids(alice):
    model = make_listing(make_person().personal_organization, is_public=True)
    hidden = make_listing(make_person().personal_organization)
    own = make_listing(alice.organization)
    slug = f"{model.publisher.slug}:{model.slug}"
    body = {"name": "narrow", "allowed_models": [slug, slug.replace(":", "/"), model.public_id, own.public_id]}
    made = alice.post("/api/keys", body)
    assert made.status_code == 201, made.content
    assert made.json()["allowed_models"] == [model.public_id, own.public_id]
    for name in (f"{hidden.publisher.slug}:{hidden.slug}", hidden.public_id, "no:such", "x", "mdl_x"):
        refused = alice.post("/api/keys", {"name": "narrow", "allowed_models": [model.public_id, name]})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/allowed_models/1"
        assert refused.json()["errors"][0]["code"] == "unknown_model"


BAD_INPUT = [
    ({}, "/name", "required"),
    ({"name": " "}, "/name", "blank"),
    ({"name": 5}, "/name", "invalid"),
    ({"name": "x" * 81}, "/name", "max_length"),
    ({"name": "a", "permisions": []}, "/permisions", "unknown_field"),
    ({"name": "a", "permissions": []}, "/permissions", "min_length"),
    ({"name": "a", "permissions": ["models:fly"]}, "/permissions/0", "unknown_permission"),
    ({"name": "a", "permissions": "models:read"}, "/permissions", "not_a_list"),
    ({"name": "a", "mode": "demo"}, "/mode", "invalid_choice"),
    ({"name": "a", "expires_at": "tomorrow"}, "/expires_at", "invalid"),
    ({"name": "a", "expires_at": "2001-01-01T00:00:00Z"}, "/expires_at", "in_the_past"),
    ({"name": "a", "rate_limit": 0}, "/rate_limit", "min_value"),
    ({"name": "a", "rate_limit": "60"}, "/rate_limit", "invalid"),
    ({"name": "a", "spend_limit": "5.00"}, "/spend_limit", "invalid"),
    ({"name": "a", "spend_limit": {"amount": 0.5}}, "/spend_limit/amount", "invalid_amount"),
    ({"name": "a", "spend_limit": {"amount": "-1"}}, "/spend_limit/amount", "too_small"),
    ({"name": "a", "spend_limit": {"amount": "1", "currency": "EUR"}}, "/spend_limit/currency", "wrong_currency"),
    ({"name": "a", "spend_limit": {"amount": "1", "window": "year"}}, "/spend_limit/window", "invalid_choice"),
    ({"name": "a", "spend_limit": {"amount": "1", "windows": "day"}}, "/spend_limit/windows", "unknown_field"),
    ({"name": "a", "allowed_ips": ["nowhere"]}, "/allowed_ips/0", "invalid"),
]


@pytest.mark.parametrize(("body", "pointer", "code"), BAD_INPUT, ids=lambda value: str(value)[:40])
def test_input_that_does_not_fit_names_the_field_and_makes_nothing(alice, body, pointer, code):
    before = APIKey.objects.count()
    answer = alice.post("/api/keys", body)
    assert answer.status_code == 422, answer.content
    problem = answer.json()
    assert problem["code"] == "validation_failed"
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in problem["errors"]}
    assert APIKey.objects.count() == before


def test_the_list_is_newest_first_in_pages_with_revoked_keys(alice):
    names = [f"key {number}" for number in range(5)]
    for name in names:
        make_key(user=alice.user, name=name)
    make_key()  # of somebody else
    services.revoke_key(key=APIKey.objects.get(name="key 3"))
    first = alice.get("/api/keys?limit=4").json()
    assert [key["name"] for key in first["data"]] == ["key 4", "key 3", "key 2", "key 1"]
    assert first["data"][1]["revoked_at"] is not None
    assert first["has_more"] is True
    second = alice.get(f"/api/keys?limit=4&cursor={first['next_cursor']}").json()
    assert [key["name"] for key in second["data"]] == ["key 0", "production"]
    assert (second["has_more"], second["next_cursor"]) == (False, None)
    assert alice.get("/api/keys?limits=4").status_code == 400
    assert alice.get("/api/keys?cursor=nonsense").status_code == 400


def test_the_list_takes_the_same_queries_for_3_and_30_rows(alice):
    def count():
        with CaptureQueriesContext(connection) as queries:
            assert alice.get("/api/keys?limit=100").status_code == 200
        return len(queries)

    for _ in range(2):
        make_key(user=alice.user, spend_limit=services.SpendLimit(10**9))
    alice.get("/api/keys")  # notes the use of the key
    few = count()
    for _ in range(27):
        make_key(user=alice.user, spend_limit=services.SpendLimit(10**9))
    assert count() == few


def test_deleting_revokes_and_may_be_repeated(alice):
    made = alice.post("/api/keys", {"name": "laptop"}).json()
    for _ in range(2):
        answer = alice.delete(f"/api/keys/{made['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert alice.get(f"/api/keys/{made['id']}").json()["revoked_at"] is not None
    used = Caller(made["key"]).get("/api/keys")
    assert (used.status_code, used.json()["code"]) == (401, "key_revoked")


def test_rotating_keeps_the_id_and_overlaps(alice):
    made = alice.post("/api/keys", {"name": "laptop", "permissions": ["keys:read"]}).json()
    answer = alice.put(f"/api/keys/{made['id']}/rotate")
    assert answer.status_code == 200, answer.content
    rotated = answer.json()
    assert set(rotated) == KEY_FIELDS | {"key", "overlap_until"}
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    ends = datetime.fromisoformat(rotated["overlap_until"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < ends <= timedelta(hours=24)
    for secret in (made["key"], rotated["key"]):
        assert Caller(secret).get("/api/keys").status_code == 200
    at_once = alice.put(f"/api/keys/{made['id']}/rotate", {"overlap_seconds": 0}).json()
    assert at_once["overlap_until"] is None
    assert Caller(rotated["key"]).get("/api/keys").status_code == 401
    refused = alice.put(f"/api/keys/{made['id']}/rotate", {"overlap_seconds": -1})
    assert refused.status_code == 422


def test_a_key_can_be_changed(alice):
    made = alice.post("/api/keys", {"name": "laptop", "rate_limit": 5}).json()
    changes = {"name": "desktop", "rate_limit": None, "spend_limit": {"amount": "1.50", "window": "day"}}
    answer = alice.patch(f"/api/keys/{made['id']}", changes)
    assert answer.status_code == 200, answer.content
    assert answer.json()["name"] == "desktop"
    assert answer.json()["rate_limit"] is None
    assert answer.json()["spend_limit"] == {"amount": "1.50", "currency": "USD", "window": "day"}
    assert alice.patch(f"/api/keys/{made['id']}", {"mode": "test"}).status_code == 422
    assert alice.patch(f"/api/keys/{made['id']}", {}).json()["name"] == "desktop"


def test_keys_of_other_organizations_are_as_good_as_missing(alice):
    foreign, _ = make_key()
    missing = encode("key", uuid7())
    for call, path in (("get", ""), ("patch", ""), ("delete", ""), ("put", "/rotate")):
        hidden = getattr(alice, call)(f"/api/keys/{foreign.public_id}{path}", {} if call != "get" else None)
        absent = getattr(alice, call)(f"/api/keys/{missing}{path}", {} if call != "get" else None)
        assert hidden.status_code == absent.status_code == 404
        assert hidden.json() | {"request_id": ""} == absent.json() | {"request_id": ""}
    assert alice.get("/api/keys/key_nonsense").status_code == 404


def test_a_member_manages_their_own_keys_and_only_sees_others(alice):
    bob = make_person(organization=alice.organization, role="member")
    _, secret = make_key(user=bob, organization=alice.organization, permissions=["keys:read", "keys:write"])
    caller = Caller(secret)
    made = caller.post("/api/keys", {"name": "bob's", "permissions": ["keys:read"]})
    assert made.status_code == 201, made.content
    assert caller.delete(f"/api/keys/{made.json()['id']}").status_code == 204
    assert caller.get(f"/api/keys/{alice.key.public_id}").status_code == 200
    answer = caller.delete(f"/api/keys/{alice.key.public_id}")
    assert (answer.status_code, answer.json()["code"]) == (403, "role_required")


def test_scopes_and_the_role_of_the_moment_decide(alice):
    reader = Caller(make_key(user=alice.user, permissions=["keys:read"])[1])
    assert reader.get("/api/keys").status_code == 200
    refused = reader.post("/api/keys", {"name": "more"})
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    assert refused.json()["required_scope"] == "keys:write"

    bob = make_person(organization=alice.organization, role="admin")
    _, secret = make_key(user=bob, organization=alice.organization, permissions=["keys:read", "billing:write"])
    assert Caller(secret).get("/api/keys").status_code == 200
    bob.memberships.filter(organization=alice.organization).update(role="billing")
    assert Caller(secret).get("/api/keys").status_code == 200
    bob.memberships.filter(organization=alice.organization).delete()
    gone = Caller(secret).get("/api/keys")
    assert (gone.status_code, gone.json()["code"]) == (401, "invalid_credentials")


def test_a_key_cannot_make_a_wider_one(alice):
    narrow = Caller(make_key(user=alice.user, permissions=["keys:write", "models:read"])[1])
    refused = narrow.post("/api/keys", {"name": "wide", "permissions": ["billing:write"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "key_too_wide")
    assert narrow.post("/api/keys", {"name": "narrow", "permissions": ["models:read"]}).status_code == 201


def test_each_way_of_being_refused_has_its_own_code(alice):
    expired, expired_secret = make_key(user=alice.user, expires_at=clock.now() + timedelta(seconds=5))
    APIKey.objects.filter(pk=expired.pk).update(expires_at=clock.now())
    _, elsewhere = make_key(user=alice.user, allowed_ips=["198.51.100.7"])
    for secret, status, code in (
        ("agr_live_nonsense", 401, "key_malformed"),
        (services.make_secret("live"), 401, "key_unknown"),
        (expired_secret, 401, "key_expired"),
        (elsewhere, 403, "ip_not_allowed"),
    ):
        answer = Caller(secret).get("/api/keys")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (answer.headers.get("WWW-Authenticate") is not None) == (status == 401)
    nobody = Client().get("/api/keys")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "not_authenticated")


def test_a_key_may_stand_in_its_own_header(alice):
    assert Client(headers={"x-api-key": alice.secret}).get("/api/keys").status_code == 200
    assert Client(headers={"x-api-key": "nonsense"}).get("/api/keys").json()["code"] == "key_malformed"
    assert Client(headers={"x-api-key": ""}).get("/api/keys").status_code == 401


def test_use_is_shown(alice):
    alice.get("/api/keys")
    assert alice.get(f"/api/keys/{alice.key.public_id}").json()["last_used"] is not None


def test_a_person_who_signed_in_uses_the_session_with_csrf(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice.user)
    assert client.get("/api/keys").status_code == 200
    refused = client.post("/api/keys", json.dumps({"name": "a"}), content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")


def test_a_key_may_ask_whose_it_is_and_changes_no_person(alice):
    answer = alice.get("/api/auth/me")
    assert answer.json()["id"] == alice.user.public_id
    assert answer.json()["organization"]["id"] == alice.organization.public_id
    assert answer.json()["api_keys"] == [alice.key.public_id]
    assert alice.patch("/api/auth/me", {"name": "Mallory"}).status_code == 403
    assert alice.post("/api/auth/become-developer").status_code == 403


def test_a_key_says_what_used_it_last_and_from_where(alice):
    Client(headers={"authorization": f"Bearer {alice.secret}", "user-agent": "OpenAI/Python 3.54.0"}).get("/api/keys")
    key = alice.get(f"/api/keys/{alice.key.public_id}").json()
    assert key["last_used"] is not None
    assert key["last_used_from"] == {"address": "127.0.0.1", "client": "openai-python 3.54.0"}
