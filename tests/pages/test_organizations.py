"""What several people share: an invitation, roles, a key that is rotated while it is used; and logging in elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client import Client, code_in
from tests.pages.chromium import HEIGHT, Watch
from tests.pages.visitor import PASSWORD
from tests.pages.walking import Walker, sign_up_by_api
from tests.provider import run_broker, run_provider

pytestmark = pytest.mark.browser
PROGRAM = "night-jobs/1.0"
SECRET = re.compile(r"agr_live_[0-9A-Za-z]{38}")
CALL = {"model": "demo/eliza", "messages": [{"role": "user", "content": "I feel fine."}]}


@pytest.fixture
def walker(browser: Any, stack: Any) -> Iterator[Callable[[str], Walker]]:
    """`walker(email)`: somebody at a browser of their own. What a page complains of fails the test."""
    opened = []

    def open_page(email: str) -> Walker:
        context = browser.new_context(viewport={"width": 1280, "height": HEIGHT})
        context.set_default_timeout(20_000)
        page = context.new_page()
        opened.append((context, Watch(page, stack.url)))
        return Walker(stack, page, email)

    yield open_page
    for context, _watch in opened:
        context.close()
    assert [watch.faults for _context, watch in opened] == [[] for _one in opened]


def test_somebody_without_an_account_is_invited_works_and_goes(stack: Any, walker: Callable[[str], Walker]) -> None:
    owner, guest = walker("inviting@example.org"), walker("invited@example.org")
    sign_up_by_api(stack, owner.email, "Olga Owner")
    owner.log_in("/organizations/new")
    owner.page.get_by_label("Name", exact=True).fill("Train Spotters")
    owner.press("Make organization")
    owner.arrives("/settings/members")
    owner.is_told("you act for it from now on")
    owner.page.get_by_label("E-mail address").fill(guest.email)
    owner.page.get_by_role("radio", name=re.compile("^Developer")).check(force=True)
    owner.press("Send invitation")
    owner.is_told(f"The invitation to {guest.email} is on its way.")
    assert "Developer" in owner.row(guest.email).inner_text()

    # By the link in the mail, through the sign-up, back to the invitation.
    mail = stack.wait_for_mail(guest.email).get_body(("plain",)).get_content()
    link = re.search(r"http\S+/invitations/\S+", mail)
    assert link is not None
    guest.page.goto(link[0])
    assert "Olga Owner" in guest.text
    guest.follow("Sign up")
    guest.page.get_by_label("Name").fill("Gus Guest")
    guest.page.get_by_label("E-mail address").fill(guest.email)
    guest.page.locator("main [name=password1]").fill(PASSWORD)
    guest.main.locator("form:has([name=password1]) button[type=submit]").click()
    guest.arrives("/accounts/confirm-email/")
    guest.page.get_by_label("Code").fill(code_in(stack.wait_for_mail(guest.email, after=1)))
    guest.press("Confirm")
    guest.arrives("/invitations/")
    guest.press("Accept")
    guest.arrives("/settings/members")
    guest.is_told("You are in Train Spotters, and act for it now.")
    assert "(you)" in guest.row("Gus Guest").inner_text()
    assert guest.main.get_by_role("button", name="Send invitation").count() == 0

    # Another role, then out again; what they may see changes with it.
    owner.goto("/settings/members")
    owner.row("Gus Guest").get_by_role("button", name="Actions for Gus Guest").click()
    owner.page.get_by_role("link", name="Change role").locator("visible=true").click()
    owner.page.get_by_role("radio", name=re.compile("^Admin")).check(force=True)
    owner.press("Save role")
    owner.is_told("Gus Guest is now: Admin.")
    guest.goto("/settings/audit")
    guest.page.get_by_role("heading", name="Audit log").wait_for()
    assert "Olga Owner" in guest.text
    owner.row("Gus Guest").get_by_role("button", name="Actions for Gus Guest").click()
    owner.page.get_by_role("button", name="Remove", exact=True).locator("visible=true").click()
    asked = owner.page.get_by_role("dialog")
    assert "loses access to Train Spotters at once" in asked.inner_text()
    asked.get_by_role("button", name="Remove").click()
    owner.is_told("Gus Guest is no longer in Train Spotters.")
    guest.goto("/settings/members")
    assert "Train Spotters" not in guest.text


def test_a_key_is_rotated_while_a_program_uses_it(stack: Any, walker: Callable[[str], Walker]) -> None:
    person = walker("rotating@example.org")
    sign_up_by_api(stack, person.email)
    person.log_in("/keys")
    person.press("Make a key")
    dialog = person.page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Name").fill("night jobs")
    dialog.get_by_role("button", name="Make key").click()
    person.page.wait_for_selector(".reveal")
    first = secret_of(person)
    assert call(stack, first) == 200
    assert Client(stack.url, first, User_Agent=PROGRAM).get("/api/limits").status == 200  # noted at once

    # Says who used it before it asks, and leaves the old secret its time.
    person.goto("/keys")
    person.follow("night jobs")
    address = person.page.url
    person.follow("Rotate")
    assert "One client used it in the last 24 hours" in person.text
    assert "night-jobs 1.0" in person.text
    person.page.get_by_role("radio", name=re.compile("24 hours")).check()
    person.press("Rotate key")
    person.is_told("“night jobs” has a new secret.")
    second = secret_of(person)
    assert second != first
    assert [call(stack, first), call(stack, second)] == [200, 200]

    # At once: the old one has no more time.
    person.page.goto(address)
    assert "works until" in person.text
    person.follow("Rotate")
    person.page.get_by_role("radio", name=re.compile("ends at once")).check()
    person.press("Rotate key")
    person.is_told("The old secret no longer works.")
    third = secret_of(person)
    wait_for_end(stack, first, second)
    assert call(stack, third) == 200
    person.page.goto(address)
    assert third not in person.page.content()

    # Revoked from the list, with the menu of the row.
    person.goto("/keys")
    person.main.get_by_role("button", name="Actions for night jobs").click()
    person.page.get_by_role("button", name="Revoke", exact=True).locator("visible=true").click()
    asked = person.page.get_by_role("dialog")
    assert "The key is in use." in asked.inner_text()
    asked.get_by_role("button", name="Revoke key").click()
    person.page.get_by_text(re.compile("revoked", re.I)).first.wait_for()
    wait_for_end(stack, third)


def wait_for_end(stack: Any, *secrets: str) -> None:
    """What is no longer good ends within a second, where machines are not busy."""
    deadline = time.monotonic() + 5
    while {call(stack, each) for each in secrets} != {401}:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def secret_of(person: Walker) -> str:
    found = SECRET.search(person.text)
    assert found is not None
    return found[0]


def call(stack: Any, secret: str) -> int:
    return Client(stack.url, secret, User_Agent=PROGRAM).post("/v1/chat/completions", CALL).status


def test_logging_in_through_a_provider_whose_pages_are_elsewhere(stack: Any, browser: Any) -> None:
    """Neither the address of the log-in nor that of the host it sends people on to is the issuer's."""
    with run_provider() as provider, run_broker(provider) as issuer:
        site = stack.start_gateway(
            OIDC_ISSUER=issuer, OIDC_NAME="Example ID", OIDC_CLIENT_ID="agorai", OIDC_CLIENT_SECRET="hidden"
        )
        provider.knows("4711", email="elsewhere@example.org", email_verified=True, name="Ida Identity")
        context = browser.new_context()
        context.set_default_timeout(20_000)
        page = context.new_page()
        watch = Watch(page, site)
        page.goto(f"{site}/accounts/login/?next=/settings/profile")
        page.get_by_role("button", name="Log in with Example ID").click()
        page.wait_for_url(re.compile(re.escape(f"{provider.url}/oauth2/authorize?")))
        page.locator("input[name=sub]").fill("4711")
        page.locator("input[name=sub]").press("Enter")
        page.wait_for_url(f"{site}/settings/profile")
        assert "Ida Identity" in page.content()
        context.close()
    assert [fault for fault in watch.faults if "Content Security Policy" in fault] == []
