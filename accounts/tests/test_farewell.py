"""Taking one's data along, closing the account, coming back, and being forgotten."""

import json
import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

from accounts import services
from accounts.models import Membership, Organization, User
from accounts.tests.factories import (
    PASSWORD,
    later,
    mails_to,
    make_client,
    make_key,
    make_member,
    make_organization,
    make_user,
)
from notifications.models import Message
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db


def enter(user):
    client = make_client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def close(client, user):
    return client.post("/settings/delete", {"email": user.email})


def link_in(message):
    return re.findall(r"(/accounts/reopen/\S+)$", message.body, re.MULTILINE)[0]


def can_log_in(user):
    client = enter(user)
    return client.get("/settings/profile").status_code == 200


# --- Export ---


def test_the_export_holds_what_is_kept_and_no_secret():
    user = make_user()
    codes = RecoveryCodes.activate(user).generate_codes()
    client = make_client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/2fa/authenticate/", {"code": codes[0]})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    make_key(user=user, organization=user.personal_organization)
    answer = client.post("/settings/export")
    assert answer["Content-Disposition"] == f'attachment; filename="{user.public_id}.json"'
    text = b"".join(answer.streaming_content).decode()
    found = json.loads(text)
    assert found["account"]["email"] == user.email
    assert [one["name"] for one in found["api_keys"]] == ["production"]
    assert found["organizations"][0]["is_personal"]
    assert "account.exported" in [one["action"] for one in found["security_log"]]
    assert found["sessions"]
    assert {"password", "digest", "seed", "session_key"} & set(re.findall(r'"(\w+)":', text)) == set()
    assert not any(code in text for code in codes)


@pytest.mark.parametrize("path", ["/settings/export", "/settings/delete"])
def test_who_has_been_in_for_long_proves_again_who_they_are(path, settings):
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = -1
    client = enter(make_user())
    for answer in (client.get(path), client.post(path)):
        assert answer.status_code == 302
        assert "/reauthenticate/" in answer["Location"]


# --- Closing ---


def test_closing_ends_everything_at_once():
    user = make_user()
    key = make_key(user=user, organization=user.personal_organization)
    client, other = enter(user), enter(user)
    login = make_client().post(
        "/api/auth/login", {"email": user.email, "password": PASSWORD}, content_type="application/json"
    )
    assert "14 days" in client.get("/settings/delete").content.decode()
    assert close(client, user).status_code == 302
    assert other.get("/settings/profile").status_code == 302
    bearer = make_client(Authorization=f"Bearer {login.json()['access']}")
    assert bearer.get("/api/auth/me").status_code == 401
    assert not can_log_in(user)
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert "is closed" in mails_to(user.email)[-1].subject


def test_a_wrong_address_closes_nothing():
    user = make_user()
    client = enter(user)
    assert client.post("/settings/delete", {"email": "other@example.org"}).status_code == 422
    assert can_log_in(user)


def test_the_only_owner_of_others_cannot_leave_them():
    user = make_user()
    organization = make_organization(owner=user, name="Needs me")
    make_member(organization=organization)
    client = enter(user)
    assert "Nobody else owns Needs me" in client.get("/settings/delete").content.decode()
    assert close(client, user).status_code == 422
    assert can_log_in(user)
    make_member(organization=organization, role=Membership.Role.OWNER)
    assert close(client, user).status_code == 302
    assert not Membership.objects.filter(organization=organization, user=user).exists()


def test_an_organization_without_others_is_closed_with_its_owner():
    user = make_user()
    organization = make_organization(owner=user)
    close(enter(user), user)
    organization.refresh_from_db()
    assert organization.closed_at is not None


# --- Coming back ---


def test_the_way_back_is_open_for_two_weeks():
    user = make_user()
    close(enter(user), user)
    link = link_in(mails_to(user.email)[-1])
    stranger = make_client()
    with later("14 days 1 minute"):
        assert stranger.get(link).status_code == 410
        assert stranger.post(link).status_code == 410
    with later("13 days 23 hours"):
        assert stranger.get(link).status_code == 200
        assert not can_log_in(user)
        assert stranger.post(link).status_code == 302
        assert can_log_in(user)
    assert stranger.get(link).status_code == 410


# --- Being forgotten ---


def test_after_two_weeks_nothing_tells_who_it_was():
    user = make_user(name="Grace Hopper")
    email = user.email
    close(enter(user), user)
    link = link_in(mails_to(email)[-1])
    assert services.erase_accounts() == 0
    with later("14 days 1 minute"):
        assert services.erase_accounts() == 1
        assert services.erase_accounts() == 0
        assert make_client().post(link).status_code == 410
    user = User.objects.get(pk=user.pk)
    assert (user.name, user.is_active) == ("Closed account", False)
    assert user.email.endswith("@erased.invalid")
    assert not EmailAddress.objects.filter(email=email).exists()
    assert not Message.objects.filter(to_address=email).exists()
    organization = Organization.objects.get(personal_owner=user)
    assert (organization.name, organization.closed_at is not None) == ("Closed account", True)
    assert AuditEvent.objects.about(user.pk).filter(action="account.erased").exists()
    make_user(email=email)  # the address is free again


def test_staff_do_not_open_what_somebody_closed():
    """Neither within the two weeks, which are the person's, nor after them, when nobody is left to log in."""
    client, user = make_client(), make_user()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    address = f"/admin/accounts/user/{user.pk}/change/"
    assert 'name="is_active"' in client.get(address).content.decode()
    services.close_account(user=user)
    assert 'name="is_active"' not in client.get(address).content.decode()
    empty = {
        f"{inline}-{count}_FORMS": 0
        for inline in ("memberships", "emailaddress_set", "authenticator_set", "browser_sessions")
        for count in ("TOTAL", "INITIAL")
    }
    answer = client.post(address, {"name": user.name, "is_active": "on", **empty})
    assert answer.status_code == 302, answer.context["errors"]
    user.refresh_from_db()
    assert not user.is_active
