"""Logging in through an OpenID Connect provider that really runs, as a browser does it."""

from __future__ import annotations

import contextlib
import html
import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests import client
from tests.pages.visitor import PASSWORD, Visitor
from tests.provider import Provider, run_provider


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with run_provider() as found:
        yield found


@pytest.fixture(scope="module")
def site(stack: Any, provider: Provider) -> str:
    """A process of the instance that names the provider."""
    return stack.start_gateway(
        OIDC_ISSUER=provider.url, OIDC_NAME="Example ID", OIDC_CLIENT_ID="agorai", OIDC_CLIENT_SECRET="hidden"
    )


def through(visitor: Visitor, number: str, *, page: str = "/accounts/login/") -> Any:
    """Press the button on that page, agree at the provider as this person, and come back."""
    shown = visitor.get(page)
    actions = re.findall(r'action="(/accounts/oidc/[^"]+)"', shown.text)
    assert len(actions) == 1, shown.text
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown.text)
    assert token is not None
    sent = visitor.send("POST", actions[0].replace("&amp;", "&"), {"csrfmiddlewaretoken": token[1]})
    assert sent.status == 200, sent.text
    there = sent.headers["refresh"].removeprefix("0; url=")
    assert f'href="{html.escape(there)}"' in sent.text, "the page says where it leads"
    assert sent.headers["referrer-policy"] == "same-origin"
    agreed = httpx.post(there, data={"sub": number})
    assert agreed.status_code in (302, 303), agreed.text
    back = urlsplit(agreed.headers["location"])
    return visitor.get(f"{back.path}?{back.query}")


def is_in(visitor: Visitor, email: str) -> bool:
    answer = visitor.get("/settings/profile")
    return answer.status == 200 and email in answer.text


def new_address() -> str:
    return f"{secrets.token_hex(6)}@example.org"


def test_a_verified_address_that_nobody_has_becomes_an_account(site: str, stack: Any, provider: Provider) -> None:
    email, number = new_address(), secrets.token_hex(8)
    provider.knows(number, email=email, email_verified=True, name="Ida Identity")
    visitor = Visitor(site)
    assert through(visitor, number).status == 302
    assert is_in(visitor, email)
    assert "Ida Identity" in visitor.get("/settings/profile").text
    assert "was connected" in stack.wait_for_mail(email)["subject"]
    again = Visitor(site)
    through(again, number)
    assert is_in(again, email)


def test_an_address_that_the_provider_has_not_verified_opens_nothing(site: str, stack: Any, provider: Provider) -> None:
    taken = f"taken-{new_address()}"
    client.sign_up(stack, taken, password=PASSWORD)
    for email in (new_address(), taken):
        for claims in ({"email_verified": False}, {}, {"email_verified": "true"}):
            number = secrets.token_hex(8)
            provider.knows(number, email=email, **claims)
            visitor = Visitor(site)
            assert through(visitor, number).headers["location"] == "/accounts/login/"
            assert visitor.get("/settings/profile").status == 302


def test_an_account_is_connected_from_within_and_never_taken_over(site: str, stack: Any, provider: Provider) -> None:
    email, number = f"mine-{new_address()}", secrets.token_hex(8)
    client.sign_up(stack, email, password=PASSWORD)
    provider.knows(number, email=email, email_verified=True)
    visitor = Visitor(site, email=email, password=PASSWORD)
    refused = through(visitor, number)
    assert refused.headers["location"] == "/accounts/login/?next=%2Faccounts%2F3rdparty%2F"
    assert "There is an account with this address" in visitor.get(refused.headers["location"]).text
    assert visitor.get("/settings/profile").status == 302

    visitor.log_in()
    visitor.confirm()
    through(visitor, number, page="/accounts/3rdparty/")
    other = Visitor(site)
    through(other, number)
    assert is_in(other, email)

    shown = visitor.get("/accounts/3rdparty/")
    assert "Example ID" in shown.text
    account = re.search(r'name="account" value="(\d+)"', shown.text)
    assert account is not None
    assert visitor.fill(shown, account=account[1]).status == 302
    third = Visitor(site)
    through(third, number)
    assert third.get("/settings/profile").status == 302


def test_a_stranger_who_signed_up_before_is_left_without_a_key(site: str, stack: Any, provider: Provider) -> None:
    """Somebody signed up with the address and never proved it; their password must not open the account."""
    email, number = f"squatted-{new_address()}", secrets.token_hex(8)
    api = client.Client(stack.url)
    body = {"email": email, "password": "a stranger's password 1", "name": "Mallory"}
    assert api.post("/api/auth/register", body).status == 202
    provider.knows(number, email=email, email_verified=True, name="Rightful Owner")
    visitor = Visitor(site)
    through(visitor, number)
    assert is_in(visitor, email)
    assert "Mallory" not in visitor.get("/settings/profile").text
    login = api.post("/api/auth/login", {"email": email, "password": "a stranger's password 1"})
    assert login.json["code"] == "login_failed"


def test_an_answer_that_nobody_asked_for_opens_nothing(site: str, provider: Provider) -> None:
    visitor = Visitor(site)
    with contextlib.suppress(KeyError):
        name = re.search(r"/accounts/oidc/([^/]+)/", visitor.get("/accounts/login/").text)[1]
        answer = visitor.get(f"/accounts/oidc/{name}/login/callback/?code=abc&state=def")
        assert answer.status in (200, 401, 403)
    assert visitor.get("/settings/profile").status == 302


def test_a_provider_that_is_away_is_no_fault_of_ours(stack: Any) -> None:
    """Neither when somebody goes there nor when somebody claims to come back."""
    away = stack.start_gateway(
        OIDC_ISSUER="http://127.0.0.1:9/away", OIDC_NAME="Away", OIDC_CLIENT_ID="agorai", OIDC_CLIENT_SECRET="hidden"
    )
    visitor = Visitor(away)
    shown = visitor.get("/accounts/login/")
    action = re.search(r'action="(/accounts/oidc/[^"]+)"', shown.text)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown.text)
    assert action is not None
    assert token is not None
    answer = visitor.send("POST", html.unescape(action[1]), {"csrfmiddlewaretoken": token[1]})
    assert answer.status == 401
    assert "That log-in did not work" in answer.text
    back = action[1].partition("?")[0] + "callback/?code=abc&state=def"
    assert visitor.get(back).status == 401
