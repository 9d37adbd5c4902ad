"""The pages: allauth's flows over our services, the profile, and the admin."""

import json
import re

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.urls import reverse

from accounts import services
from accounts.models import Budget, EmailCode, RefreshFamily, User
from accounts.tests.factories import (
    PASSWORD,
    code_in,
    mails_to,
    make_client,
    make_member,
    make_user,
    new_address,
    reset_token_in,
)
from common import clock

pytestmark = pytest.mark.django_db
SIGN_UP = {"name": "Ada Lovelace", "password1": PASSWORD}
CODE_PAGE = "/accounts/confirm-email/"


def sign_up(email, **fields):
    client = make_client()
    answer = client.post("/accounts/signup/", {"email": email, **SIGN_UP, **fields})
    return client, answer


def log_in(client, user, password=PASSWORD):
    return client.post("/accounts/login/", {"login": user.email, "password": password})


def prove_again(client):
    """What allauth asks for before anything sensitive."""
    assert client.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 302


def is_in(client):
    return client.get("/settings/profile").status_code == 200


def api(path, body):
    return make_client().post(f"/api/auth/{path}", json.dumps(body), content_type="application/json")


def test_signing_up_by_pages():
    email = new_address()
    client, answer = sign_up(email.upper())
    assert (answer.status_code, answer.url) == (302, CODE_PAGE)
    user = User.objects.get(email=email)
    assert (user.name, user.personal_organization.name) == ("Ada Lovelace", "Ada Lovelace")
    [message] = mails_to(email)
    assert email in client.get(CODE_PAGE).content.decode()
    code = code_in(message)
    assert code not in json.dumps(dict(client.session))
    wrong = client.post(CODE_PAGE, {"code": "AAAAAAAA"})
    assert "wrong" in wrong.content.decode() or "belong" in wrong.content.decode()
    answer = client.post(CODE_PAGE, {"code": code.lower()})
    assert (answer.status_code, answer.url) == (302, "/")
    assert is_in(client)
    assert services.is_verified(user, email)
    assert len(mails_to(email)) == 1


def test_a_code_of_the_page_serves_the_api_and_the_other_way_round():
    email = new_address()
    sign_up(email)
    assert api("verify-email", {"email": email, "code": code_in(mails_to(email)[0])}).status_code == 200
    email = new_address()
    api("register", {"email": email, "password": PASSWORD, "name": "Ada"})
    client = make_client()
    assert client.post("/accounts/login/", {"login": email, "password": PASSWORD}).url == CODE_PAGE
    by_api, by_page = (code_in(message) for message in mails_to(email))
    assert client.post(CODE_PAGE, {"code": by_api}).status_code == 422  # replaced by the newer one
    assert client.post(CODE_PAGE, {"code": by_page}).url == "/"
    assert is_in(client)


def test_the_page_can_send_the_code_again():
    email = new_address()
    client, _ = sign_up(email)
    cache.clear()  # allauth allows one code in ten seconds
    assert client.post(CODE_PAGE, {"action": "resend"}).status_code == 302
    first, second = mails_to(email)
    assert client.post(CODE_PAGE, {"code": code_in(first)}).status_code == 422
    assert client.post(CODE_PAGE, {"code": code_in(second)}).url == "/"


def text_of(answer, *hidden):
    text = answer.content.decode()
    for value in hidden:
        text = text.replace(value, "…")
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"|req_[0-9a-z]{26}', "", text)


def test_signing_up_with_a_taken_address_looks_the_same():
    taken, free = make_user().email, new_address()
    clients = {}
    for email in (taken, free):
        clients[email], answer = sign_up(email)
        assert (answer.status_code, answer.url) == (302, CODE_PAGE)
    pages = [text_of(clients[email].get(CODE_PAGE), email) for email in (taken, free)]
    assert pages[0] == pages[1]
    pages = [text_of(clients[email].post(CODE_PAGE, {"code": "AAAAAAAA"}), email) for email in (taken, free)]
    assert pages[0] == pages[1]
    assert "You have an account" in mails_to(taken)[0].subject
    assert len(mails_to(taken)) == 1


def test_signing_up_again_before_verifying_works_with_the_newest_code():
    email = new_address()
    sign_up(email, name="Mallory", password1="the password of mallory")
    cache.clear()  # allauth allows one code in ten seconds
    client, _ = sign_up(email)
    client.post(CODE_PAGE, {"code": code_in(mails_to(email)[-1])})
    user = User.objects.get(email=email)
    assert is_in(client)
    assert (user.name, user.check_password(PASSWORD)) == ("Ada Lovelace", True)


@pytest.mark.parametrize(
    "fields", [{"email": "x"}, {"email": "ä@example.org"}, {"password1": "short"}, {"name": ""}, {"name": "\0"}]
)
def test_a_faulty_sign_up_is_shown_again(fields):
    client = make_client()
    answer = client.post("/accounts/signup/", {"email": new_address(), **SIGN_UP, **fields})
    assert answer.status_code in (200, 422)
    assert answer.context["form"].errors


def test_raising_the_session_version_ends_every_session():
    user = make_user()
    clients = [make_client(), make_client()]
    for client in clients:
        log_in(client, user)
        assert is_in(client)
    services.revoke_all(user=user, reason="staff")
    assert not any(is_in(client) for client in clients)


def test_a_new_password_by_the_page_ends_everything_and_is_mailed_once():
    user = make_user()
    here, elsewhere = make_client(), make_client()
    for client in (here, elsewhere):
        log_in(client, user)
    services.open_family(user=user, client="c")
    new = "a quite new password"
    answer = here.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert answer.status_code == 302
    assert not is_in(here)
    assert not is_in(elsewhere)
    assert RefreshFamily.objects.get(user=user).reason == "password_changed"
    assert [message.subject for message in mails_to(user.email)] == ["Your password for Agorai was changed"]
    log_in(here, user, new)
    assert is_in(here)


def test_a_forgotten_password_by_the_page():
    user = make_user()
    client = make_client()
    assert client.post("/accounts/password/reset/", {"email": user.email}).status_code == 302
    [message] = mails_to(user.email)
    link = re.findall(r"https?://\S+/password/reset/key/\S+", message.body)[0]
    answer = client.get(link[link.index("/accounts/") :], follow=True)
    assert reset_token_in(message) not in answer.content.decode()
    page = answer.redirect_chain[-1][0]
    new = "a quite new password"
    assert client.post(page, {"password1": "short", "password2": "short"}).status_code in (200, 422)
    assert client.post(page, {"password1": new, "password2": new}).status_code == 302
    user.refresh_from_db()
    assert user.check_password(new)
    assert len(mails_to(user.email)) == 2
    again = client.get(link[link.index("/accounts/") :], follow=True)
    assert again.context["token_fail"]


def test_the_link_of_one_person_serves_no_other():
    user, other = make_user(), make_user()
    services.request_password_reset(email=user.email)
    token = reset_token_in(mails_to(user.email)[0])
    answer = make_client().get(f"/accounts/password/reset/key/{other.pk.hex}-{token}/", follow=True)
    assert answer.context["token_fail"]


def test_the_page_tells_an_unknown_address_by_mail_alone():
    known, unknown = make_user().email, new_address()
    answers = [make_client().post("/accounts/password/reset/", {"email": email}) for email in (known, unknown)]
    assert len({(answer.status_code, answer.url) for answer in answers}) == 1
    assert len(mails_to(known)) == len(mails_to(unknown)) == 1


@time_machine.travel("2026-11-30T12:00:10Z", tick=False)  # a code lives half a minute
def test_a_second_factor_by_pages():
    user, secret = make_user(), generate_totp_secret()
    TOTP.activate(user, secret)
    client = make_client()
    answer = log_in(client, user)
    assert answer.url == "/accounts/2fa/authenticate/"
    assert not is_in(client)
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
    assert client.post(answer.url, {"code": code}).status_code == 302
    assert is_in(client)


@time_machine.travel("2026-11-30T12:00:10Z", tick=False)
def test_switching_the_second_factor_on_and_off_is_mailed(django_capture_on_commit_callbacks):
    user = make_user()
    client = make_client()
    log_in(client, user)
    prove_again(client)
    page = client.get("/accounts/2fa/totp/activate/")
    assert page.status_code == 200
    secret = client.session["mfa.totp.secret"]
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post("/accounts/2fa/totp/activate/", {"code": code}).status_code == 302
    assert client.post("/accounts/2fa/totp/deactivate/").status_code == 302
    subjects = " ".join(message.subject for message in mails_to(user.email))
    assert "is on" in subjects
    assert "is off" in subjects


@time_machine.travel("2026-11-30T12:00:10Z", tick=False)
def test_the_code_that_switched_it_on_does_not_log_in_as_well():
    user, client = make_user(), make_client()
    log_in(client, user)
    prove_again(client)
    client.get("/accounts/2fa/totp/activate/")
    secret = client.session["mfa.totp.secret"]
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
    client.post("/accounts/2fa/totp/activate/", {"code": code})
    other = make_client()
    answer = other.post(log_in(other, user).url, {"code": code})
    assert answer.status_code == 422
    assert "was used already" in answer.content.decode()
    assert not is_in(other)


def test_a_further_address_is_proved_by_its_own_mailbox():
    user, email = make_user(), new_address()
    client = make_client()
    log_in(client, user)
    prove_again(client)
    answer = client.post("/accounts/email/", {"action_add": "", "email": email})
    assert answer.url == CODE_PAGE
    services.mail_verification_code(user=user, email=user.email)
    other = code_in(mails_to(user.email)[-1])
    assert client.post(CODE_PAGE, {"code": other}).status_code == 422
    assert not EmailAddress.objects.filter(email=email).exists()
    client.post(CODE_PAGE, {"code": code_in(mails_to(email)[-1])})
    assert services.is_verified(user, email)
    client.post("/accounts/email/", {"action_primary": "", "email": email})
    user.refresh_from_db()
    assert user.email == email


def test_the_address_of_somebody_else_cannot_be_added():
    user, other = make_user(), make_user()
    client = make_client()
    log_in(client, user)
    prove_again(client)
    client.post("/accounts/email/", {"action_add": "", "email": other.email})
    client.post(CODE_PAGE, {"code": code_in(mails_to(other.email)[-1])})
    assert not services.is_verified(user, other.email)
    assert services.is_verified(other, other.email)


# --- The profile ---


def test_the_profile_page_changes_the_names_of_person_and_organization():
    user = make_user()
    client = make_client()
    assert client.get("/settings/profile").url.startswith("/accounts/login/")
    client.force_login(user)
    assert user.email in client.get("/settings/profile").content.decode()
    fields = {"name": "Grace Hopper", "organization_name": "Navy"}
    assert client.post("/settings/profile", fields).status_code == 302
    user.refresh_from_db()
    organization = user.personal_organization
    assert (user.name, organization.name, organization.time_zone) == ("Grace Hopper", "Navy", "UTC")
    for wrong in ({"name": ""}, {"organization_name": "x" * 121}, {"name": "\0"}):
        assert client.post("/settings/profile", {**fields, **wrong}).status_code == 422


def test_a_member_changes_the_own_name_alone():
    member = make_member(role="member")
    client = make_client(agorai_organization=member.organization.public_id)
    client.force_login(member.user)
    fields = {"name": "Grace Hopper", "organization_name": "Mine"}
    assert client.post("/settings/profile", fields).status_code == 302
    member.refresh_from_db()
    member.organization.refresh_from_db()
    assert member.user.name == "Grace Hopper"
    assert member.organization.name != "Mine"


# --- The admin ---


@pytest.fixture
def staff():
    client = make_client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


def admin_url(model, page="changelist", *args):
    return reverse(f"admin:accounts_{model}_{page}", args=args)


def test_every_admin_page_opens_and_shows_no_digest(staff):
    user = make_user()
    budget = services.ensure_credit(organization=user.personal_organization, limit_nano=5_000_000_000)
    family = services.open_family(user=user, client="c" * 64)
    services.issue_code(user=user, purpose="login", email=user.email, at=clock.now())
    rows = {
        "user": user,
        "organization": user.personal_organization,
        "budget": budget,
        "emailcode": EmailCode.objects.get(user=user),
        "refreshfamily": RefreshFamily.objects.get(user=user),
    }
    for model, row in rows.items():
        assert staff.get(admin_url(model)).status_code == 200
        assert staff.get(admin_url(model), {"q": "x"}).status_code == 200
        page = staff.get(admin_url(model, "change", row.pk))
        assert page.status_code == 200
        text = page.content.decode()
        assert "digest" not in text
        assert user.password not in text
        assert family.refresh not in text
        assert "c" * 64 not in text


def test_staff_changes_a_limit_and_no_sum(staff):
    organization = make_user().personal_organization
    budget = services.set_spend_limit(
        subject_kind="organization", subject_id=organization.pk, limit_nano=5, time_zone="UTC"
    )
    url = admin_url("budget", "change", budget.pk)
    assert staff.post(url, {"amount": "12.5", "spent": "0", "held": "7"}).status_code == 302
    budget.refresh_from_db()
    assert (budget.limit, budget.spent, budget.held) == (12_500_000_000, 0, 0)
    assert staff.post(url, {"amount": "-1"}).status_code == 200
    assert staff.post(url, {"amount": "99999999999"}).status_code == 200
    assert Budget.objects.get(pk=budget.pk).limit == 12_500_000_000


def test_staff_makes_developers_and_ends_sessions(staff):
    user = make_user()
    services.open_family(user=user, client="c")
    for action in ("grant_developer_role", "end_sessions"):
        staff.post(admin_url("user"), {"action": action, "_selected_action": [str(user.pk)]})
    user.refresh_from_db()
    assert (user.role, user.session_version) == ("developer", 2)
    assert RefreshFamily.objects.get(user=user).reason == "staff"
    staff.post(admin_url("user"), {"action": "withdraw_developer_role", "_selected_action": [str(user.pk)]})
    user.refresh_from_db()
    assert user.role == "consumer"


def test_staff_makes_a_person_who_chooses_the_password(staff):
    email = new_address()
    answer = staff.post(admin_url("user", "add"), {"email": email.upper(), "name": "Grace"})
    assert answer.status_code == 302
    user = User.objects.get(email=email)
    assert not user.has_usable_password()
    assert user.personal_organization.name == "Grace"
    services.request_password_reset(email=email)
    token = reset_token_in(mails_to(email)[0])
    services.reset_password(token=token, password=PASSWORD)
    client = make_client()
    log_in(client, user)
    assert is_in(client)


def test_deactivating_somebody_ends_their_sessions(staff):
    user = make_user()
    client = make_client()
    log_in(client, user)
    empty = {
        f"{inline}-{count}_FORMS": 0
        for inline in ("memberships", "emailaddress_set", "authenticator_set", "browser_sessions")
        for count in ("TOTAL", "INITIAL")
    }
    answer = staff.post(admin_url("user", "change", user.pk), {"name": user.name, **empty})
    assert answer.status_code == 302, answer.context["errors"]
    user.refresh_from_db()
    assert (user.is_active, user.session_version) == (False, 2)
    assert not is_in(client)


def test_only_a_superuser_makes_staff():
    helper = make_user(is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=["change_user", "view_user"]))
    client = make_client()
    client.force_login(helper)
    user = make_user()
    fields = {"name": "Grace", "is_active": "on", "is_staff": "on", "is_superuser": "on", "email": "x@example.org"}
    answer = client.post(admin_url("user", "change", user.pk), fields)
    assert answer.status_code == 302
    before = user.email
    user.refresh_from_db()
    assert (user.name, user.is_staff, user.is_superuser, user.email) == ("Grace", False, False, before)
