"""Secrets, digests under several peppers, and what may be done with a key."""

import hashlib
import random
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from apikeys import errors, services
from apikeys.models import PERMISSIONS, SCOPES_OF_ROLE, APIKey, KeyClient, scopes_of_role
from apikeys.services import digests
from apikeys.tests.factories import EVERYTHING, make_key, make_person
from common import clock
from common.problems import Conflict, InvalidCredentials, RoleRequired, ValidationFailed
from notifications.models import Message

pytestmark = pytest.mark.django_db
ADDRESS = "203.0.113.8"


@pytest.fixture
def at_offset():
    """Shift the database's clock."""

    def shift(interval: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [interval])

    return shift


def verify(secret, address=ADDRESS):
    return services.verify_key(secret, address=address, at=clock.now())


def test_a_secret_is_its_mode_32_random_characters_and_a_checksum():
    live, test = services.make_secret("live"), services.make_secret("test")
    assert live.startswith("agr_live_")
    assert test.startswith("agr_test_")
    assert len(live) == len(test) == 47
    assert services.is_well_formed(live)
    assert services.is_well_formed(test)
    assert len({services.make_secret("live") for _ in range(1000)}) == 1000


def test_no_typing_error_passes_the_checksum():
    random.seed(7)
    secret = services.make_secret("live")
    for position in range(9, len(secret)):
        for typed in random.sample(services.BASE62.replace(secret[position], ""), 8):
            assert not services.is_well_formed(secret[:position] + typed + secret[position + 1 :])
        swapped = secret[: position - 1] + secret[position] + secret[position - 1] + secret[position + 1 :]
        assert swapped == secret or not services.is_well_formed(swapped)
    assert not services.is_well_formed(secret[:-1])
    assert not services.is_well_formed(secret.replace("live", "test"))
    assert not services.is_well_formed(secret + "\n")


@pytest.mark.parametrize("noise", ["", "agr_live_", "sk-123", "agr_live_" + "0" * 38, "agr_live_" + "é" * 38, "\0"])
def test_noise_is_refused_without_a_query(noise, django_assert_num_queries):
    with django_assert_num_queries(0), pytest.raises(errors.KeyMalformed):
        services.verify_key(noise, address=ADDRESS, at=None)


def test_the_database_holds_no_secret_and_no_plain_hash_of_it():
    key, secret = make_key()
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM apikeys_apikey k WHERE id = %s", [key.id])
        row = cursor.fetchone()[0]
    assert secret not in row
    assert secret[9:-6] not in row
    assert hashlib.sha256(secret.encode()).hexdigest() not in row
    assert key.prefix == secret[:13]
    assert key.last_four == secret[-4:]


def test_a_key_verifies_with_its_user_and_organization_in_one_query(django_assert_num_queries):
    key, secret = make_key()
    at = clock.now()
    with django_assert_num_queries(1):
        found = services.verify_key(secret, address=ADDRESS, at=at)
        assert (found.id, found.user.name, found.organization.id) == (key.id, "Ada Lovelace", key.organization_id)


def test_a_well_formed_secret_that_was_never_issued_is_unknown():
    with pytest.raises(errors.KeyUnknown):
        verify(services.make_secret("live"))


def test_digests_that_are_remembered_are_those_that_would_be_computed(monkeypatch):
    monkeypatch.setattr(digests, "REMEMBERED", 2)
    remembered = services.RememberedDigests()
    known = [services.make_secret("live") for _ in range(5)]
    for secret in [*known, *known, *reversed(known)]:
        assert remembered(secret.encode()) == services.candidate_digests(secret)
        assert len(remembered._known) <= 2
    kept = repr(remembered._known)
    assert not any(secret in kept for secret in known)
    good = known[0].encode()
    for bad in (b"", good[:-1], good[:-1] + b"-", good[:-1] + b"\xff", good + b"x", good.upper()):
        with pytest.raises(errors.KeyMalformed):
            remembered(bad)


def test_a_key_survives_a_new_pepper_and_is_wrapped_by_it(settings):
    settings.KEY_PEPPERS = {"p1": b"1" * 32}
    key, secret = make_key()
    rotated, old = make_key()
    rotated, new = services.rotate_key(key=rotated)
    before = bytes(key.digest)

    settings.KEY_PEPPERS = {"p2": b"2" * 32, "p1": b"1" * 32}
    assert verify(secret).id == key.id
    assert services.candidate_digests(secret)[1] == before, "the newest pepper's digest is the first candidate"

    assert services.wrap_digests() == 2
    assert services.wrap_digests() == 0
    key.refresh_from_db()
    assert key.pepper_id == "p2"
    assert bytes(key.digest) == services.candidate_digests(secret)[0] != before
    for current in (secret, old, new):
        verify(current)

    settings.KEY_PEPPERS = {"p3": b"3" * 32, "p2": b"2" * 32, "p1": b"1" * 32}
    assert verify(secret).id == key.id
    made_now, secret_now = make_key()
    assert made_now.pepper_id == "p3"
    assert verify(secret_now).id == made_now.id


def test_a_rotation_under_a_new_pepper_keeps_the_old_secret(settings):
    settings.KEY_PEPPERS = {"p1": b"1" * 32}
    key, secret = make_key()
    settings.KEY_PEPPERS = {"p2": b"2" * 32, "p1": b"1" * 32}
    key, new = services.rotate_key(key=key)
    assert verify(secret).id == verify(new).id == key.id


def test_a_revoked_key_ends_and_revoking_again_changes_nothing():
    key, secret = make_key()
    services.revoke_key(key=key)
    when = key.revoked_at
    with pytest.raises(errors.KeyRevoked):
        verify(secret)
    services.revoke_key(key=key)
    assert key.revoked_at == when


def test_a_key_ends_at_its_expiry_by_the_clock_of_the_database(at_offset):
    key, secret = make_key(expires_at=clock.now() + timedelta(hours=1))
    at_offset("59 minutes 50 seconds")
    verify(secret)
    at_offset("1 hour 10 seconds")
    with pytest.raises(errors.KeyExpired):
        verify(secret)
    with pytest.raises(errors.KeyNotActive):
        services.rotate_key(key=key)


def test_both_secrets_work_during_the_overlap_and_the_new_one_after_it(at_offset):
    key, old = make_key()
    key, new = services.rotate_key(key=key, overlap_seconds=60)
    assert old != new
    assert verify(old).id == verify(new).id == key.id
    at_offset("58 seconds")
    verify(old)
    at_offset("61 seconds")
    verify(new)
    with pytest.raises(errors.KeyRevoked, match="rotation"):
        verify(old)


def test_without_overlap_the_old_secret_ends_at_once():
    key, old = make_key()
    key, new = services.rotate_key(key=key, overlap_seconds=0)
    assert key.overlap_until is None
    verify(new)
    with pytest.raises(errors.KeyUnknown):
        verify(old)


def test_a_second_rotation_ends_the_first_secret():
    key, first = make_key()
    key, second = services.rotate_key(key=key)
    key, third = services.rotate_key(key=key)
    verify(second)
    verify(third)
    with pytest.raises(errors.KeyUnknown):
        verify(first)


def test_revoking_ends_the_secret_of_an_overlap_too():
    key, old = make_key()
    key, new = services.rotate_key(key=key)
    services.revoke_key(key=key)
    for secret in (old, new):
        with pytest.raises((errors.KeyRevoked, errors.KeyUnknown)):
            verify(secret)


def test_of_two_rotations_at_once_one_wins():
    key, _ = make_key()
    same = APIKey.objects.get(pk=key.pk)
    services.rotate_key(key=key)
    with pytest.raises(Conflict):
        services.rotate_key(key=same)


def test_a_key_ends_with_its_person_or_organization():
    key, secret = make_key()
    key.user.is_active = False
    key.user.save()
    with pytest.raises(InvalidCredentials):
        verify(secret)
    other, secret = make_key()
    other.organization.closed_at = clock.now()
    other.organization.save()
    with pytest.raises(InvalidCredentials):
        verify(secret)


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [("198.51.100.7", True), ("203.0.113.200", True), ("203.0.114.1", False), ("2001:db8::1", True), ("", False)],
)
def test_addresses_outside_the_allowed_ones_are_refused(address, is_allowed):
    key, secret = make_key(allowed_ips=["198.51.100.7", "203.0.113.77/24", "2001:db8::/32"])
    assert key.allowed_ips == ["198.51.100.7/32", "203.0.113.0/24", "2001:db8::/32"]
    if is_allowed:
        verify(secret, address)
    else:
        with pytest.raises(errors.IPNotAllowed):
            verify(secret, address)


def test_use_is_noted_at_most_once_a_minute(at_offset):
    key, _ = make_key()
    use = services.Use(key.id, ADDRESS, "OpenAI/Python 3.54.0")
    assert services.touch_keys([use]) == 1
    assert services.touch_keys([use]) == 0
    key.refresh_from_db()
    assert (key.last_used_address, key.last_used_client) == (ADDRESS, "openai-python 3.54.0")
    assert not services.is_use_due(key, clock.now(), address=use.address, user_agent=use.user_agent)
    assert services.is_use_due(key, clock.now(), address=use.address, user_agent="curl/8.5.0"), "another client"
    at_offset("61 seconds")
    assert services.is_use_due(key, clock.now(), address=use.address, user_agent=use.user_agent)
    assert services.touch_keys([use, services.Use(key.id, "2001:db8::1", "curl/8.5.0")]) == 1
    key.refresh_from_db()
    assert (key.last_used_address, key.last_used_client) == ("2001:db8::1", "curl 8.5.0"), "the latest counts"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("OpenAI/Python 3.54.0", "openai-python 3.54.0"),
        ("AsyncOpenAI/Python 3.54.0", "openai-python 3.54.0"),
        ("OpenAI/JS 6.1.0", "openai-node 6.1.0"),
        ("python-httpx/0.28.1", "python-httpx 0.28.1"),
        ("curl/8.5.0", "curl 8.5.0"),
        ("my app", "my"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140"),
        ("", ""),
        ("<script>", ""),
    ],
)
def test_a_client_is_named_in_two_words(user_agent, words):
    assert services.client_of(user_agent) == words


def test_what_calls_itself_by_a_secret_is_not_written_down():
    key, secret = make_key()
    services.touch_keys([services.Use(key.id, ADDRESS, f"app/1.0 {secret}"), services.Use(key.id, ADDRESS, secret)])
    assert all(secret not in str(row) for row in KeyClient.objects.values_list("client", "address"))


def test_the_clients_of_a_key_are_kept_once_and_not_without_end(at_offset):
    key, _ = make_key()
    for _again in range(2):
        services.touch_keys([services.Use(key.id, ADDRESS, "curl/8.5.0")])
    assert key.clients.count() == 1
    at_offset("10 minutes")
    services.touch_keys([services.Use(key.id, f"203.0.113.{n}", "curl/8.5.0") for n in range(50)])
    assert key.clients.count() == services.MAX_CLIENTS
    assert len(services.recent_clients(key, since=clock.now() - timedelta(hours=1))) == services.MAX_CLIENTS
    at_offset("91 days")
    assert services.recent_clients(key, since=clock.now() - timedelta(days=1)) == []
    assert services.prune() == services.MAX_CLIENTS


def reminders(key):
    return list(Message.objects.filter(recipient=key.user, kind="apikeys.expiring").order_by("id"))


def test_the_end_of_a_key_is_mailed_seven_days_and_one_day_before(at_offset):
    key, _ = make_key(expires_at=clock.now() + timedelta(days=30))
    assert services.send_reminders() == 0
    at_offset("23 days 1 minute")
    assert services.send_reminders() == 1
    assert services.send_reminders() == 0, "once"
    at_offset("28 days")
    assert services.send_reminders() == 0
    at_offset("29 days 1 minute")
    assert [services.send_reminders(), services.send_reminders()] == [1, 0]
    at_offset("31 days")
    assert services.send_reminders() == 0
    assert len(reminders(key)) == 2


def test_a_later_end_is_mailed_anew_and_no_end_not_at_all(at_offset):
    key, _ = make_key(expires_at=clock.now() + timedelta(days=8))
    at_offset("2 days")
    assert services.send_reminders() == 1
    services.change_key(key=key, changes={"expires_at": clock.now() + timedelta(days=10)})
    assert services.send_reminders() == 0
    at_offset("5 days 1 minute")
    assert services.send_reminders() == 1
    services.change_key(key=key, changes={"expires_at": None})
    at_offset("20 days")
    assert services.send_reminders() == 0


def test_nobody_is_reminded_of_a_short_life_or_of_a_key_that_has_ended(at_offset):
    make_key(expires_at=clock.now() + timedelta(hours=12))
    revoked, _ = make_key(expires_at=clock.now() + timedelta(days=8))
    services.revoke_key(key=revoked)
    gone, _ = make_key(expires_at=clock.now() + timedelta(days=8))
    User.objects.filter(pk=gone.user_id).update(is_active=False)
    at_offset("2 days")
    assert services.send_reminders() == 0
    missed, _ = make_key(expires_at=clock.now() + timedelta(days=8))
    at_offset("20 days")
    assert services.send_reminders() == 0, "it has expired meanwhile"
    assert reminders(missed) == []


@pytest.mark.parametrize("role", [*SCOPES_OF_ROLE, "stranger"])
def test_a_key_grants_what_it_has_within_the_role_of_its_person(role):
    key = APIKey(permissions=EVERYTHING)
    assert key.effective_scopes(role) == scopes_of_role(role)
    assert APIKey(permissions=["models:read", "billing:write"]).effective_scopes("member") == {"models:read"}


def test_the_table_of_roles_is_the_written_one():
    everything = set(PERMISSIONS)
    assert SCOPES_OF_ROLE["owner"] == SCOPES_OF_ROLE["admin"] == everything
    assert everything - SCOPES_OF_ROLE["developer"] == {"billing:write"}
    assert SCOPES_OF_ROLE["billing"] == {"models:read", "keys:read", "analytics:read", "billing:read", "billing:write"}
    assert everything - SCOPES_OF_ROLE["member"] == {
        "models:write",
        "deployments:write",
        "billing:read",
        "billing:write",
        "webhooks:read",
        "webhooks:write",
    }
    assert scopes_of_role("") == frozenset()


def test_a_key_cannot_be_given_what_its_person_may_not_do():
    organization = make_person().personal_organization
    member = make_person(organization=organization, role="member")
    with pytest.raises(ValidationFailed) as refused:
        make_key(user=member, organization=organization, permissions=["models:read", "billing:write"])
    assert refused.value.errors[0]["pointer"] == "/permissions/1"
    assert refused.value.errors[0]["code"] == "beyond_role"


def test_every_fault_is_named_at_once():
    with pytest.raises(ValidationFailed) as refused:
        make_key(
            expires_at=clock.now() - timedelta(seconds=1),
            allowed_ips=["10.0.0.0/8", "10.0.0.300"],
            allowed_models=["a"],
        )
    assert {(fault["pointer"], fault["code"]) for fault in refused.value.errors} == {
        ("/expires_at", "in_the_past"),
        ("/allowed_ips/1", "invalid"),
        ("/allowed_models/0", "unknown_model"),
    }


def test_a_spend_limit_is_a_budget_that_can_be_changed_and_lifted():
    key, _ = make_key(spend_limit=services.SpendLimit(5_000_000_000))
    assert services.spend_limits_of([key.id])[key.id].limit == 5_000_000_000
    services.change_key(key=key, changes={"spend_limit": services.SpendLimit(7_000_000_000, window="day")})
    budget = services.spend_limits_of([key.id])[key.id]
    assert (budget.limit, budget.window) == (7_000_000_000, "day")
    services.change_key(key=key, changes={"name": "other"})
    assert key.id in services.spend_limits_of([key.id])
    services.change_key(key=key, changes={"spend_limit": None})
    assert services.spend_limits_of([key.id]) == {}


def test_a_revoked_key_cannot_be_changed_or_rotated():
    key, _ = make_key()
    services.revoke_key(key=key)
    with pytest.raises(errors.KeyNotActive):
        services.change_key(key=key, changes={"name": "other"})
    with pytest.raises(errors.KeyNotActive):
        services.rotate_key(key=key)


WIDER = [
    {"permissions": ["keys:write", "billing:read"]},
    {"mode": "live"},
    {"expires_at": None},
    {"allowed_ips": []},
    {"allowed_ips": ["10.0.0.0/7"]},
]


@pytest.mark.parametrize("wider", WIDER, ids=str)
def test_a_key_makes_no_key_that_is_wider_than_itself(wider):
    soon = clock.now() + timedelta(days=1)
    limits = {"permissions": ["keys:write"], "mode": "test", "expires_at": soon, "allowed_ips": ["10.0.0.0/8"]}
    parent, _ = make_key(**limits)
    people = {"user": parent.user, "organization": parent.organization}
    make_key(**people, **limits, by=parent)
    with pytest.raises(errors.KeyTooWide):
        make_key(**people, **(limits | wider), by=parent)
    other, _ = make_key(**people, **(limits | wider))
    with pytest.raises(errors.KeyTooWide):
        services.rotate_key(key=other, by=parent)
    with pytest.raises(errors.KeyTooWide):
        services.change_key(key=other, changes={"name": "mine now"}, by=parent)


@pytest.mark.parametrize("limit", [{"rate_limit": 10}, {"spend_limit": services.SpendLimit(1)}], ids=["rate", "spend"])
def test_a_key_with_a_rate_or_spend_limit_makes_no_keys(limit):
    parent, _ = make_key(permissions=["keys:write"], **limit)
    with pytest.raises(errors.KeyTooWide):
        make_key(user=parent.user, permissions=["keys:write"], by=parent)
    with pytest.raises(errors.KeyTooWide):
        services.change_key(key=parent, changes=dict.fromkeys(limit), by=parent)


def test_keys_of_others_need_an_owner_or_admin():
    key, _ = make_key()
    services.require_control(key=key, user=key.user, role="member")
    other = make_person()
    services.require_control(key=key, user=other, role="admin")
    with pytest.raises(RoleRequired):
        services.require_control(key=key, user=other, role="developer")


def test_noting_use_takes_one_statement_for_any_number_of_keys():
    uses = [services.Use(make_key()[0].id, ADDRESS, "curl/8.5.0") for _ in range(3)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        services.touch_keys(uses)
    assert len([query for query in queries if query["sql"].startswith("UPDATE")]) == 1
