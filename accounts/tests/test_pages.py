"""What the pages of signing in and of the account say, and tell browsers and password managers."""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.cache import cache

from accounts.tests.factories import PASSWORD, make_client, make_user, new_address

pytestmark = pytest.mark.django_db

OPEN = ["login", "signup", "password/reset", "password/reset/done", "password/reset/key/1-x", "inactive"]
OWN = ["email", "password/change", "2fa", "2fa/totp/activate", "logout", "reauthenticate"]


@pytest.fixture
def user():
    return make_user()


@pytest.fixture
def client(user):
    """Signed in, and having proved it just now."""
    cache.clear()
    client = make_client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def page(client, path):
    answer = client.get(f"/accounts/{path}/", follow=True)
    assert answer.status_code == 200, path
    return answer.content.decode()


def inputs(html):
    """The attributes of every field, by name."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", html[html.index("<main") :]):
        attributes = dict(re.findall(r'([a-z]+)="([^"]*)"', tag))
        found.setdefault(attributes.get("name"), attributes)
    return found


@pytest.mark.parametrize("path", OPEN + OWN)
def test_pages_spell_e_mail_in_one_way_and_leave_nothing_to_placeholders(path, client):
    html = page(client if path in OWN else make_client(), path)
    main = html[html.index("<main") : html.index("</main>")]
    visible = re.sub(r"<[^>]+>", " ", main)
    assert not re.search(r"\b[Ee]mails?\b", visible), visible
    assert "placeholder" not in main
    assert html.count("<h1") == 1


def test_browsers_are_told_what_to_fill_in(client, user):
    found = inputs(page(make_client(), "login"))
    assert (found["login"]["type"], found["login"]["autocomplete"]) == ("email", "username webauthn")
    assert found["password"]["autocomplete"] == "current-password"
    found = inputs(page(make_client(), "signup"))
    assert [found[name]["autocomplete"] for name in ("name", "email", "password1")] == ["name", "email", "new-password"]
    found = inputs(page(client, "password/change"))
    wanted = {"username": "username", "oldpassword": "current-password", "password1": "new-password"}
    assert {name: found[name]["autocomplete"] for name in wanted} == wanted
    found = inputs(page(client, "2fa/totp/activate"))
    assert (found["code"]["autocomplete"], found["code"]["inputmode"]) == ("one-time-code", "numeric")


def test_codes_that_are_mailed_have_letters():
    client = make_client()
    client.post("/accounts/signup/", {"email": new_address(), "name": "Ada", "password1": PASSWORD})
    code = inputs(page(client, "confirm-email"))["code"]
    assert code["autocomplete"] == "one-time-code"
    assert "inputmode" not in code


def test_signing_up_leads_on_to_where_one_wanted_to_go():
    client = make_client()
    html = client.get("/accounts/login/?next=/keys%3Fnew").content.decode()
    [href] = set(re.findall(r'href="(/accounts/signup/\?[^"]+)"', html))
    assert href == "/accounts/signup/?next=%2Fkeys%3Fnew"
    assert 'name="next" value="/keys?new"' in client.get(href).content.decode()


def test_a_faulty_form_says_so_in_a_summary_that_takes_the_focus():
    answer = make_client().post("/accounts/login/", {"login": new_address(), "password": "wrong"})
    html = answer.content.decode()
    assert "E-mail address and password do not belong together." in html
    assert re.search(r'<div class="errors" role="alert" tabindex="-1" autofocus', html)


def test_what_can_be_done_with_an_address_stands_beside_it(client, user):
    html = page(client, "email")
    for action in ("action_send", "action_primary", "action_remove"):
        assert f'name="{action}"' not in html, "with the only address, nothing"
    verified = EmailAddress.objects.create(user=user, email=new_address(), verified=True)
    pending = EmailAddress.objects.create(user=user, email=new_address(), verified=False)
    rows = re.findall(r"<tr>(.*?)</tr>", page(client, "email"), re.S)
    of = {
        address: next(row for row in rows if address in row) for address in (user.email, verified.email, pending.email)
    }
    assert "<button" not in of[user.email]
    assert re.findall(r'name="(action_\w+)"', of[verified.email]) == ["action_primary", "action_remove"]
    assert re.findall(r'name="(action_\w+)"', of[pending.email]) == ["action_send", "action_remove"]
    assert f'data-confirm="Remove {pending.email} from your account?' in of[pending.email]
    html = client.post("/accounts/email/", {"email": pending.email, "action_remove": ""}, follow=True).content.decode()
    assert f"{pending.email} is removed from your account." in html
    assert not EmailAddress.objects.filter(pk=pending.pk).exists()


def test_pages_of_two_factors_open_while_it_is_on(client, user):
    TOTP.activate(user, generate_totp_secret())
    RecoveryCodes.activate(user)
    for path in ("2fa", "2fa/totp/deactivate", "2fa/recovery-codes", "2fa/recovery-codes/generate"):
        assert "<h1>" in page(client, path)
    fresh = make_client()
    answer = fresh.post("/accounts/login/", {"login": user.email, "password": PASSWORD}, follow=True)
    code = inputs(answer.content.decode())["code"]
    assert (code["autocomplete"], code["inputmode"]) == ("one-time-code", "numeric")
    assert "one of your recovery codes" in answer.content.decode()


def test_the_rail_and_the_bar_say_where_one_is(client):
    for path, label in (
        ("/settings/profile", "Profile"),
        ("/accounts/2fa/totp/activate/", "Passkeys and second factor"),
    ):
        html = client.get(path).content.decode()
        current = re.findall(r'<a href="[^"]*" aria-current="page">([^<]+)</a>', html)
        assert set(current) >= {"Dashboard", label}
    html = client.get("/docs/errors").content.decode()
    assert re.findall(r'<a href="[^"]*" aria-current="page">([^<]+)</a>', html)[0] == "Docs"
