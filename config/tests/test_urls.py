"""The doors that anyone may knock on."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User

FORMS = {
    "/accounts/signup/": {"email": "new@example.org", "password1": "short", "name": "New"},
    "/accounts/login/": {"login": "nobody@example.org", "password": "wrong"},
    "/accounts/password/reset/": {"email": "not an address"},
}


@pytest.mark.django_db
@pytest.mark.parametrize("address", FORMS)
def test_one_address_may_send_a_form_so_often_and_no_oftener(client: Client, settings: Any, address: str):
    cache.clear()
    settings.AUTH_RATE_PER_MINUTE = 3
    answers = [client.post(address, FORMS[address]) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert client.get(address).status_code == 200
    other = next(form for form in FORMS if form != address)
    assert client.post(other, FORMS[other]).status_code == 422
    assert Client(REMOTE_ADDR="198.51.100.7").post(address, FORMS[address]).status_code == 422


@pytest.mark.django_db
def test_staff_enter_the_admin_by_the_log_in_of_the_site(client: Client):
    response = client.get("/admin/login/?next=/admin/")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/accounts/login/?next=")
    assert client.get("/admin/").headers["Location"].startswith("/a")


@pytest.mark.django_db
def test_others_do_not_learn_that_there_is_an_admin(client: Client):
    client.force_login(User.objects.create_user("someone@example.org", "a long enough password", name="Someone"))
    assert client.get("/admin/").status_code == 404
    assert client.get("/admin/accounts/user/").status_code == 404
