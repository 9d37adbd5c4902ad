"""Passkeys, as far as they go without a device; tests/pages has one."""

import json

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings

from accounts.tests.factories import PASSWORD, mails_to, make_client, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return make_user()


@pytest.fixture
def client(user):
    client = make_client(**{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"})
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


@pytest.fixture
def passkey(user):
    credential = {"clientExtensionResults": {"credProps": {"rk": True}}}
    return Authenticator.objects.create(
        user=user, type=Authenticator.Type.WEBAUTHN, data={"name": "Phone", "credential": credential}
    )


def test_a_passkey_belongs_to_the_sites_own_host_and_is_named_after_the_device(client, user):
    answer = client.get("/accounts/2fa/webauthn/add/")
    options = answer.context["js_data"]["creation_options"]["publicKey"]
    options = json.loads(json.dumps(dict(options), default=dict))
    assert options["rp"]["id"] == settings.SITE_HOST
    assert options["user"]["name"] == user.email
    assert answer.context["form"]["name"].value() == "Firefox on Linux"


def test_a_passkey_is_renamed_and_removed(client, user, passkey):
    path = f"/accounts/2fa/webauthn/keys/{passkey.pk}"
    assert "Phone" in client.get("/accounts/2fa/").content.decode()
    assert client.get(f"{path}/edit/").status_code == 200
    assert client.post(f"{path}/edit/", {"name": "x" * 61}).status_code == 422
    assert client.post(f"{path}/edit/", {"name": "Work phone"}).status_code == 302
    assert "Work phone" in client.get(f"{path}/remove/").content.decode()
    assert client.post(f"{path}/remove/").status_code == 302
    assert not Authenticator.objects.filter(user=user).exists()
    [message] = mails_to(user.email)
    assert "passkey was removed" in message.subject


def test_nobody_touches_the_passkeys_of_others(client, passkey):
    passkey.user = make_user()
    passkey.save()
    for act in ("edit", "remove"):
        assert client.get(f"/accounts/2fa/webauthn/keys/{passkey.pk}/{act}/").status_code == 404
        assert client.post(f"/accounts/2fa/webauthn/keys/{passkey.pk}/{act}/", {"name": "mine"}).status_code == 404


def test_a_password_alone_does_not_open_an_account_with_a_passkey(user, passkey):
    client = make_client()
    answer = client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    answer = make_client().post(
        "/api/auth/login", {"email": user.email, "password": PASSWORD}, content_type="application/json"
    )
    assert answer.json()["code"] == "mfa_required"


def test_an_invented_answer_of_a_device_opens_nothing(user, passkey):
    client = make_client()
    client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    for credential in ("{}", "[]", "null", "x", json.dumps({"id": "AA", "response": {"userHandle": "AA"}})):
        answer = client.post("/accounts/2fa/webauthn/login/", {"credential": credential})
        assert answer.status_code == 302
        assert answer["Location"] == "/accounts/login/"
