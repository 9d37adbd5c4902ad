"""Passwords that everyone knows, refused wherever one is chosen: the 20,000 of the list that comes with Django."""

import json
import re

import pytest

from accounts.models import User
from accounts.tests.factories import PASSWORD, mails_to, make_client, make_user, new_address, reset_token_in

pytestmark = pytest.mark.django_db
COMMON = ["qwertyuiop", "QwertyUiop", "1q2w3e4r5t", "basketball"]  # long enough, and refused for this alone
REASON = "This password is too common."
GOOD = "a quite new password"


def api(path, **body):
    return make_client().post(f"/api/auth/{path}", json.dumps(body), content_type="application/json")


def fault_in(answer):
    assert answer.status_code == 422, answer.content
    [fault] = answer.json()["errors"]
    return fault["pointer"], fault["code"]


@pytest.mark.parametrize("password", COMMON)
def test_nobody_signs_up_with_one(password):
    email = new_address()
    answer = api("register", email=email, password=password, name="Ada")
    assert fault_in(answer) == ("/password", "password_too_common")
    page = make_client().post("/accounts/signup/", {"email": email, "name": "Ada", "password1": password})
    assert page.context["form"].errors == {"password1": [REASON]}
    assert not User.objects.filter(email=email).exists()
    assert mails_to(email) == []


def test_the_api_says_the_same_of_a_taken_address():
    """The rules are looked at before the address is, so a refusal tells nothing about it."""
    taken = api("register", email=make_user().email, password=COMMON[0], name="Ada")
    assert fault_in(taken) == ("/password", "password_too_common")


@pytest.mark.parametrize("password", COMMON)
def test_nobody_resets_to_one_by_the_api_and_the_link_stays_good(password):
    user = make_user()
    api("password/reset", email=user.email)
    token = reset_token_in(mails_to(user.email)[-1])
    answer = api("password/reset/confirm", token=token, password=password)
    assert fault_in(answer) == ("/password", "password_too_common")
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert api("password/reset/confirm", token=token, password=GOOD).status_code == 204


@pytest.mark.parametrize("password", COMMON)
def test_nobody_resets_to_one_by_the_page(password):
    user, client = make_user(), make_client()
    client.post("/accounts/password/reset/", {"email": user.email})
    link = re.findall(r"/accounts/password/reset/key/\S+", mails_to(user.email)[0].body)[0]
    page = client.get(link, follow=True).redirect_chain[-1][0]
    answer = client.post(page, {"password1": password, "password2": password})
    assert REASON in answer.context["form"].errors["password1"]
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


@pytest.mark.parametrize("password", COMMON)
def test_nobody_changes_to_one(password):
    user, client = make_user(), make_client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    body = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    answer = client.post("/accounts/password/change/", body)
    assert REASON in answer.context["form"].errors["password1"]
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert client.get("/settings/profile").status_code == 200, "nobody was logged out by it"


@pytest.mark.parametrize("password", COMMON)
def test_nobody_who_came_by_a_provider_sets_one(password):
    user, client = make_user(), make_client()
    user.set_unusable_password()
    user.save()
    client.force_login(user)
    answer = client.post("/accounts/password/set/", {"password1": password, "password2": password})
    user.refresh_from_db()
    assert not user.has_usable_password()
    assert answer.status_code != 500


@pytest.mark.parametrize("password", ["Grace Hopper", "grace-hopper-1", "{email}"])
def test_nor_does_anybody_take_their_name_or_address(password):
    email, name = new_address(), "Grace Hopper"
    password = password.format(email=email)
    answer = api("register", email=email, password=password, name=name)
    assert fault_in(answer) == ("/password", "password_too_similar")
    page = make_client().post("/accounts/signup/", {"email": email, "name": name, "password1": password})
    [reason] = page.context["form"].errors["password1"]
    assert "too similar" in reason
    assert not User.objects.filter(email=email).exists()
