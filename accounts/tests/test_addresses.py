"""Whose an address is: whoever reads its mailbox, whatever somebody else signed up with before."""

import pytest
from allauth.account.models import EmailAddress

from accounts import services
from accounts.models import Membership, Organization, User
from accounts.services.codes import issue_reset_token
from accounts.tests.factories import (
    PASSWORD,
    code_in,
    mails_to,
    make_client,
    make_member,
    make_user,
    new_address,
)
from common.clock import now

pytestmark = pytest.mark.django_db
CODE_PAGE = "/accounts/confirm-email/"


def enter(user):
    client = make_client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def add(client, email):
    """Add the address and type the code that came to it."""
    assert client.post("/accounts/email/", {"action_add": "", "email": email}).url == CODE_PAGE
    return client.post(CODE_PAGE, {"code": code_in(mails_to(email)[-1])})


def sign_up(email):
    services.register_user(email=email, password="a stranger's long password", name="Somebody else")
    return User.objects.get(email=email)


def test_who_signed_up_with_an_address_and_never_proved_it_does_not_keep_it_from_its_owner():
    email = new_address()
    squatter = sign_up(email)
    theirs = squatter.personal_organization
    owner = make_user()
    client = enter(owner)
    assert add(client, email).status_code == 302
    assert services.is_verified(owner, email)
    assert not User.objects.filter(pk=squatter.pk).exists()
    assert not Organization.objects.filter(pk=theirs.pk).exists()
    client.post("/accounts/email/", {"action_primary": "", "email": email})
    owner.refresh_from_db()
    assert owner.email == email
    login = {"email": email, "password": "a stranger's long password"}
    assert make_client().post("/api/auth/login", login, content_type="application/json").status_code == 401


def test_the_link_to_a_new_password_proves_an_address_as_well():
    """As after “this was not me”, when whoever took the account over gave its address away."""
    user, email = make_user(), new_address()
    squatter = sign_up(email)
    token = issue_reset_token(user=user, email=email, at=now())
    services.reset_password(token=token, password="a quite new password")
    assert services.is_verified(user, email)
    assert services.find_owner(email) == user
    assert not User.objects.filter(pk=squatter.pk).exists()


def test_a_wrong_code_takes_nothing_from_anybody():
    email = new_address()
    squatter = sign_up(email)
    client = enter(make_user())
    client.post("/accounts/email/", {"action_add": "", "email": email})
    assert client.post(CODE_PAGE, {"code": "AAAAAAAA"}).status_code in (200, 422)
    assert User.objects.filter(pk=squatter.pk).exists()
    assert not EmailAddress.objects.filter(email=email, verified=True).exists()


def test_whom_others_gave_a_place_keeps_the_address():
    email = new_address()
    squatter = sign_up(email)
    place = make_member(user=squatter)
    client = enter(make_user())
    assert add(client, email).status_code in (200, 422)
    assert Membership.objects.filter(pk=place.pk).exists()
    assert not EmailAddress.objects.filter(email=email, verified=True).exists()


def test_a_newcomer_who_proves_the_own_address_is_not_forgotten_by_it():
    email = new_address()
    client = make_client()
    client.post("/accounts/signup/", {"email": email, "name": "Ada", "password1": PASSWORD})
    assert client.post(CODE_PAGE, {"code": code_in(mails_to(email)[-1])}).status_code == 302
    assert services.is_verified(User.objects.get(email=email), email)
