"""Signing up and in, second factors, passkeys and sessions, as people meet them in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import code_in
from tests.pages.chromium import HEIGHT, Watch
from tests.pages.visitor import PASSWORD, one_time_code
from tests.pages.walking import Device, Walker, sign_up_by_api

pytestmark = pytest.mark.browser
CODES = "/accounts/2fa/recovery-codes/"
FACTORS = "/accounts/2fa/"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"


@pytest.fixture
def newcomer(browser: Any, stack: Any, request: pytest.FixtureRequest) -> Iterator[Walker]:
    """Somebody who has no account yet. What a page complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT})
    context.set_default_timeout(20_000)
    page = context.new_page()
    watch = Watch(page, stack.url)
    yield Walker(stack, page, f"{request.node.name.removeprefix('test_').replace('_', '-')[:40]}@example.org")
    context.close()
    assert watch.faults == []


@pytest.fixture
def person(newcomer: Walker) -> Walker:
    """Somebody with an account, logged in."""
    sign_up_by_api(newcomer.stack, newcomer.email)
    newcomer.log_in()
    return newcomer


def add_passkey(person: Walker, name: str = "") -> None:
    """The first one; recovery codes come with it."""
    person.goto_guarded("/accounts/2fa/webauthn/add/")
    if name:
        person.page.get_by_label("Name").fill(name)
    person.press("Add passkey")
    person.arrives(CODES)


def test_signing_up_without_a_mouse(newcomer: Walker) -> None:
    page, email, stack = newcomer.page, newcomer.email, newcomer.stack
    newcomer.goto("/")
    page.locator("header").get_by_role("link", name="Sign up").focus()
    page.keyboard.press("Enter")
    newcomer.arrives("/accounts/signup/")
    page.get_by_label("Name").focus()
    for typed in ("Nora Newcomer", email, "short"):
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    # The fault is said first, and leads to its field; what was right is still there.
    faults = page.get_by_role("alert")
    faults.get_by_text("at least 10 characters").wait_for()
    assert faults.evaluate("(one) => one === document.activeElement")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(":focus").get_attribute("name") == "password1"
    assert page.get_by_label("E-mail address").input_value() == email
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")

    newcomer.arrives("/accounts/confirm-email/")
    assert email in newcomer.text
    page.get_by_label("Code").focus()
    page.keyboard.type("WRONG234")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("does not belong to this address").wait_for()
    page.get_by_label("Code").fill(code_in(stack.wait_for_mail(email)))
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stack.url}/")
    page.get_by_role("heading", name="Overview").wait_for()
    assert "First steps" in newcomer.text
    assert "Next time without the password?" not in newcomer.text, "not at the first log-in"


def test_an_authenticator_app_is_set_up_and_asked_for(person: Walker) -> None:
    page = person.page
    person.goto_guarded(FACTORS)
    person.follow("Set up")
    person.confirm()
    person.arrives("/accounts/2fa/totp/activate/")
    assert page.locator("img.qr").evaluate("(image) => image.complete && image.naturalWidth > 0")
    found = re.search(r"\b[A-Z2-7]{32}\b", person.text)
    assert found is not None
    secret = found[0]
    used = one_time_code(secret)
    page.get_by_label("Code from the app").fill(used)
    person.press("Turn on")
    person.arrives(CODES)
    codes = re.findall(r"^\d{8}$", person.main.locator("pre").inner_text(), re.MULTILINE)
    assert len(codes) == 10

    person.log_out()
    person.type_password()
    person.arrives("/accounts/2fa/authenticate/")
    page.get_by_label("Code").fill(used)  # each is good once, and for half a minute
    person.press("Log in")
    person.is_told("This code is wrong, too old or was used already.")
    page.get_by_label("Code").fill(codes[0])
    person.press("Log in")
    page.wait_for_url(f"{person.url}/")

    person.goto_guarded(FACTORS)
    assert "9 of 10 codes are unused" in person.text
    person.follow("Turn off")
    person.confirm()
    person.press("Turn off")
    person.arrives(FACTORS)
    person.log_out()
    person.log_in()


def test_a_passkey_is_added_opens_the_account_is_renamed_and_removed(person: Walker) -> None:
    page = person.page
    Device(page)
    add_passkey(person)
    person.goto(FACTORS)
    assert "never" in person.row("Chrome on Linux").inner_text()
    assert "passkey was added" in person.stack.wait_for_mail(person.email, after=1)["subject"]

    # Without a password, and without another step.
    person.log_out()
    person.goto("/accounts/login/?next=/keys")
    assert page.get_by_label("E-mail address").get_attribute("autocomplete") == "username webauthn"
    person.press("Log in with a passkey")
    person.arrives("/keys")
    person.goto(FACTORS)
    assert "just now" in person.row("Chrome on Linux").inner_text()

    person.follow("Rename Chrome on Linux")
    person.confirm()
    page.get_by_label("Name").fill("Work laptop")
    person.press("Save name")
    person.arrives("/accounts/2fa/webauthn/")
    person.follow("Remove Work laptop")
    person.press("Remove")
    page.get_by_text("No passkeys yet").wait_for()


def test_a_passkey_is_a_second_step_and_confirms_sensitive_acts(person: Walker) -> None:
    page, device = person.page, Device(person.page)
    add_passkey(person, "Laptop")
    person.log_out()
    device.touch(False)  # or the field of the log-in would take the passkey, which needs no password
    person.type_password("/keys")
    person.arrives("/accounts/2fa/authenticate/")
    for path in ("/settings/profile", "/keys"):  # half way in is not in
        person.goto(path)
        person.arrives("/accounts/2fa/authenticate/")
    device.touch(True)
    person.press("Use a passkey")
    person.arrives("/keys")

    person.goto("/accounts/2fa/webauthn/add/")
    person.arrives("/accounts/reauthenticate/")
    person.follow(re.compile("passkey|security key", re.I))
    person.press("Use a passkey")
    person.arrives("/accounts/2fa/webauthn/add/")

    # Somebody without the device has the recovery codes.
    person.goto(CODES)
    code = re.findall(r"^\d{8}$", person.main.locator("pre").inner_text(), re.MULTILINE)[0]
    person.log_out()
    device.touch(False)
    person.type_password()
    person.arrives("/accounts/2fa/authenticate/")
    page.get_by_label("Code").fill(code)
    person.press("Log in")
    page.wait_for_url(f"{person.url}/")


def test_a_device_that_refuses_is_told_in_words(person: Walker) -> None:
    device = Device(person.page)
    add_passkey(person)
    person.log_out()
    device.recognise(False)
    person.goto("/accounts/login/")
    person.press("Log in with a passkey")
    person.is_told("No passkey was used.")
    assert person.page.url.endswith("/accounts/login/")


def test_a_passkey_is_offered_to_those_who_come_back_and_put_away_for_good(person: Walker) -> None:
    person.log_out()
    person.log_in()
    offer = person.main.get_by_role("region", name="Next time without the password?")
    offer.get_by_role("link", name="Add a passkey").wait_for()
    offer.get_by_role("button", name="Not now").click()
    offer.wait_for(state="detached")
    person.log_out()
    person.log_in()
    assert offer.count() == 0


def test_a_code_by_mail_logs_in(person: Walker) -> None:
    page = person.page
    person.log_out()
    person.goto("/accounts/login/?next=/keys")
    person.follow("Send me a code instead")
    page.get_by_label("E-mail address").fill(person.email)
    person.main.locator("form button[type=submit]").first.click()
    person.arrives("/accounts/login/code/confirm/")
    page.get_by_label("Code").fill("WRONG234")
    person.press("Confirm")
    person.is_told("does not belong to this address")
    page.get_by_label("Code").fill(code_in(person.stack.wait_for_mail(person.email, after=1)))
    person.press("Confirm")
    person.arrives("/keys")


def test_a_session_is_ended_from_another_browser(person: Walker, browser: Any) -> None:
    page, stack = person.page, person.stack
    context = browser.new_context(user_agent=IPHONE, viewport={"width": 390, "height": 844}, has_touch=True)
    phone = Walker(stack, context.new_page(), person.email)
    watch = Watch(phone.page, stack.url)
    phone.log_in()
    mail = stack.wait_for_mail(person.email, after=1)
    assert "new device" in mail["subject"]

    person.goto("/settings/sessions")
    assert "This one" in person.row("Chrome on Linux").inner_text()
    person.press("Log out Safari on iPhone")
    person.is_told("That session is logged out.")
    phone.goto("/settings/sessions")
    phone.arrives("/accounts/login/")

    # It was not me: the link in the mail asks before it does anything.
    link = re.search(r"http\S+/accounts/not-me/\S+", mail.get_body(("plain",)).get_content())
    assert link is not None
    phone.page.goto(link[0])
    person.goto("/settings/security-log?show=log-ins")
    assert "Safari on iPhone" in person.text
    phone.press("Log out everywhere")
    phone.page.get_by_role("heading", name="Everything is logged out").wait_for()
    person.goto("/settings/sessions")
    person.arrives("/accounts/login/")
    page.wait_for_load_state()
    context.close()
    assert watch.faults == []
