"""Second factors, passkeys, sessions and alarms, as people meet them in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pages.chromium import CHROMIUM, Watch
from tests.pages.visitor import PASSWORD, one_time_code

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: apt-get install chromium"),
]
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def person(browser: Any, stack: Any, sign_up: Callable[..., None], request: pytest.FixtureRequest) -> Iterator[Any]:
    """Somebody who has just signed up: a page with `email`, and `device`, the authenticator built into it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    watch = Watch(page, stack.url)
    page.email = f"{request.node.name.replace('_', '-')[:40]}@example.org"
    sign_up(page, page.email)
    yield page
    context.close()
    assert watch.faults == []


def add_device(page: Any, **options: Any) -> tuple[Any, str]:
    """A device of the person's: finger, face or PIN are always right."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable", {"enableUI": False})
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE | options})
    return session, made["authenticatorId"]


def confirm_by_password(page: Any) -> None:
    page.wait_for_url(re.compile("/accounts/reauthenticate/"))
    page.locator("main [name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def log_out(page: Any, stack: Any) -> None:
    page.goto(f"{stack.url}/accounts/logout/")
    page.locator("main").get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{stack.url}/")


def type_password(page: Any, stack: Any) -> None:
    page.goto(f"{stack.url}/accounts/login/")
    page.locator("main [name=login]").fill(page.email)
    page.locator("main [name=password]").fill(PASSWORD)
    page.locator("main form:has([name=password]) button[type=submit]").click()


def add_passkey(page: Any, stack: Any, name: str = "") -> None:
    page.goto(f"{stack.url}/accounts/2fa/webauthn/add/")
    if "reauthenticate" in page.url:
        confirm_by_password(page)
    page.wait_for_url(re.compile("/webauthn/add/"))
    if name:
        page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add passkey").click()


def test_a_passkey_is_added_opens_the_account_is_renamed_and_removed(stack: Any, person: Any) -> None:
    page = person
    add_device(page)
    add_passkey(page, stack)
    page.wait_for_url(re.compile("/accounts/2fa/recovery-codes/"))  # made with the first one
    page.goto(f"{stack.url}/accounts/2fa/")
    row = page.get_by_role("row").filter(has_text="Chrome on Linux")
    assert "never" in row.inner_text()
    assert "passkey was added" in stack.wait_for_mail(page.email, after=1)["subject"]

    # Without a password, and without another step.
    log_out(page, stack)
    page.goto(f"{stack.url}/accounts/login/?next=/keys")
    assert page.locator("[name=login]").get_attribute("autocomplete") == "username webauthn"
    page.get_by_role("button", name="Log in with a passkey").click()
    page.wait_for_url(f"{stack.url}/keys")
    page.goto(f"{stack.url}/accounts/2fa/")
    assert "just now" in page.get_by_role("row").filter(has_text="Chrome on Linux").inner_text()

    page.get_by_role("link", name="Rename").click()
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_role("button", name="Save name").click()
    page.goto(f"{stack.url}/accounts/2fa/webauthn/")
    page.get_by_role("link", name="Remove Work laptop").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_text("No passkeys yet").wait_for()


def test_a_passkey_is_a_second_step_and_confirms_sensitive_acts(stack: Any, person: Any) -> None:
    page = person
    add_device(page)
    add_passkey(page, stack)
    page.wait_for_url(re.compile("/accounts/2fa/recovery-codes/"))
    log_out(page, stack)
    type_password(page, stack)
    page.wait_for_url(re.compile("/accounts/2fa/authenticate/"))
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{stack.url}/")
    page.goto(f"{stack.url}/accounts/2fa/webauthn/reauthenticate/?next=/keys")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{stack.url}/keys")


def test_a_device_that_refuses_is_told_in_words(stack: Any, person: Any) -> None:
    page = person
    session, device = add_device(page)
    add_passkey(page, stack)
    page.wait_for_url(re.compile("/accounts/2fa/recovery-codes/"))
    log_out(page, stack)
    session.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
    page.goto(f"{stack.url}/accounts/login/")
    page.get_by_role("button", name="Log in with a passkey").click()
    page.get_by_text("No passkey was used.").wait_for()


def test_an_authenticator_app_is_set_up_and_asked_for(stack: Any, person: Any) -> None:
    page = person
    page.goto(f"{stack.url}/accounts/2fa/totp/activate/")
    if "reauthenticate" in page.url:
        confirm_by_password(page)
    page.wait_for_url(re.compile("/totp/activate/"))
    assert page.locator("img.qr").evaluate("(image) => image.complete && image.naturalWidth > 0")
    found = re.search(r"\b[A-Z2-7]{32}\b", page.locator("main").inner_text())
    assert found is not None
    used = one_time_code(found[0])
    page.locator("main [name=code]").fill(used)
    page.get_by_role("button", name="Turn on").click()
    page.wait_for_url(re.compile("/accounts/2fa/recovery-codes/"))
    codes = re.findall(r"^\d{8}$", page.locator("main pre").inner_text(), re.MULTILINE)
    assert len(codes) == 10

    log_out(page, stack)
    type_password(page, stack)
    page.wait_for_url(re.compile("/accounts/2fa/authenticate/"))
    page.locator("main [name=code]").fill(used)  # is good once
    page.get_by_role("button", name="Log in", exact=True).click()
    page.get_by_text("This code is wrong, too old or was used already.").wait_for()
    page.locator("main [name=code]").fill(codes[0])
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url(f"{stack.url}/")


def test_a_session_is_ended_from_another_browser(stack: Any, person: Any, browser: Any) -> None:
    page = person
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
    context = browser.new_context(user_agent=phone)
    other = context.new_page()
    other.email = page.email
    type_password(other, stack)
    other.wait_for_url(f"{stack.url}/")
    mail = stack.wait_for_mail(page.email, after=1)
    assert "new device" in mail["subject"]

    page.goto(f"{stack.url}/settings/sessions")
    assert "This one" in page.get_by_role("row").filter(has_text="Chrome on Linux").inner_text()
    page.get_by_role("button", name="Log out Safari on iPhone").click()
    page.get_by_text("That session is logged out.").wait_for()
    other.goto(f"{stack.url}/settings/sessions")
    assert "/accounts/login/" in other.url

    # It was not me: the link in the mail asks before it does anything.
    link = re.search(r"http\S+/accounts/not-me/\S+", mail.get_body(("plain",)).get_content())
    assert link is not None
    other.goto(link[0])
    page.goto(f"{stack.url}/settings/security-log?show=log-ins")
    assert "Safari on iPhone" in page.locator("main").inner_text()
    other.get_by_role("button", name="Log out everywhere").click()
    other.get_by_role("heading", name="Everything is logged out").wait_for()
    page.goto(f"{stack.url}/settings/sessions")
    assert "/accounts/login/" in page.url
    context.close()
