"""Logging in by a mailed code, by pages and by the API."""

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import services
from accounts.services.guesses import AT_ONCE
from accounts.tests.factories import code_in, later, mails_to, make_client, make_user, new_address

pytestmark = pytest.mark.django_db
ASK, CONFIRM = "/api/auth/login/code", "/api/auth/login/code/confirm"


def post(path, **body):
    return make_client().post(path, body, content_type="application/json")


def mailed_code(email):
    return code_in(mails_to(email)[-1])


def ask(email):
    answer = post(ASK, email=email)
    assert (answer.status_code, answer.json()) == (202, {"status": "code_sent"})
    return mailed_code(email)


def test_a_program_logs_in_by_code_once():
    user = make_user()
    code = ask(user.email)
    answer = post(CONFIRM, email=user.email, code=code.lower())
    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == user.email
    assert post(CONFIRM, email=user.email, code=code).json()["code"] == "code_invalid"


def test_a_code_gets_old_and_is_not_tried_without_end():
    user = make_user()
    code = ask(user.email)
    with later("16 minutes"):
        assert post(CONFIRM, email=user.email, code=code).status_code == 422
    for _ in range(4):
        assert post(CONFIRM, email=user.email, code="WRONG234").status_code == 422
    assert post(CONFIRM, email=user.email, code=code).status_code == 429


def test_no_door_tells_whether_there_is_an_account():
    known, unknown = make_user().email, new_address()
    answers = [post(ASK, email=email) for email in (known, unknown)]
    assert answers[0].content == answers[1].content
    assert len(mails_to(known)) == len(mails_to(unknown)) == 1
    answers = [post(CONFIRM, email=email, code="WRONG234") for email in (known, unknown)]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    pages = []
    for email in (known, unknown):
        client = make_client()
        answer = client.post("/accounts/login/code/", {"email": email}, follow=True)
        page = client.post("/accounts/login/code/confirm/", {"code": "WRONG234"})
        pages.append((answer.status_code, answer.redirect_chain, page.status_code, len(mails_to(email))))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("ask_for", [services.request_login_code, services.request_password_reset])
def test_as_much_is_asked_of_the_database_where_there_is_no_account(ask_for):
    statements = []
    for email in (make_user().email, new_address()):
        with CaptureQueriesContext(connection) as caught:
            ask_for(email=email)
        words = [query["sql"].split()[0] for query in caught]
        statements.append([word for word in words if word not in ("RELEASE", "ROLLBACK")])
    assert statements[0] == statements[1]
    assert statements[0].count("INSERT") == 2, "the code and the mail"


def test_an_address_that_nobody_proved_gets_no_code():
    """Somebody else may have signed up with it, and would know the password."""
    email = new_address()
    services.register_user(email=email, password="a stranger's password 1", name="Mallory")
    mails_to(email)
    post(ASK, email=email)
    assert "no account" in mails_to(email)[-1].body
    assert post(CONFIRM, email=email, code="WRONG234").status_code == 422


def test_a_second_factor_is_asked_for_and_the_code_stays_good():
    user = make_user()
    codes = RecoveryCodes.activate(user).generate_codes()
    code = ask(user.email)
    assert post(CONFIRM, email=user.email, code=code).json()["code"] == "mfa_required"
    assert post(CONFIRM, email=user.email, code=code, second_factor="00000000").json()["code"] == "mfa_invalid"
    assert post(CONFIRM, email=user.email, code=code, second_factor=codes[0]).status_code == 200


def test_a_person_logs_in_by_code_on_the_way_to_a_page():
    user = make_user()
    client = make_client()
    assert "/accounts/login/code/" in client.get("/accounts/login/").content.decode()
    answer = client.post("/accounts/login/code/", {"email": user.email.upper(), "next": "/keys"})
    assert answer["Location"] == "/accounts/login/code/confirm/?next=%2Fkeys"
    assert user.email in client.get(answer["Location"]).content.decode()
    wrong = client.post("/accounts/login/code/confirm/", {"code": "WRONG234"})
    assert "does not belong to this address" in wrong.content.decode()
    answer = client.post("/accounts/login/code/confirm/", {"code": mailed_code(user.email), "next": "/keys"})
    assert answer["Location"] == "/keys"
    assert client.get("/settings/profile").status_code == 200


def test_whoever_guessed_too_often_is_told_to_wait_on_the_page_too():
    answers = []
    for email in (make_user().email, new_address()):
        for _ in range(AT_ONCE):
            assert post(CONFIRM, email=email, code="WRONG234").status_code == 422
        client = make_client()
        client.post("/accounts/login/code/", {"email": email})
        answers.append(client.post("/accounts/login/code/confirm/", {"code": "WRONG234"}))
    assert [answer.status_code for answer in answers] == [429, 429]
    assert all(int(answer["Retry-After"]) in range(1, 721) for answer in answers)


def test_a_code_of_somebody_else_opens_nothing():
    user, other = make_user(), make_user()
    code = ask(other.email)
    client = make_client()
    client.post("/accounts/login/code/", {"email": user.email})
    answer = client.post("/accounts/login/code/confirm/", {"code": code})
    assert answer.status_code == 422
    assert client.get("/settings/profile").status_code == 302


def test_a_closed_account_gets_no_code():
    user = make_user(is_active=False)
    post(ASK, email=user.email)
    assert "no account" in mails_to(user.email)[-1].body
