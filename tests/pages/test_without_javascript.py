"""Forms, filters and menus where no script runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.pages.visitor import PASSWORD

pytestmark = pytest.mark.browser
SECRET = re.compile(r"agr_live_[0-9A-Za-z]{38}")


def press(page: Any, name: str) -> None:
    """A button or link of the main part, and the page behind it."""
    main = page.locator("main")
    named = main.get_by_role("button", name=name, exact=True).or_(main.get_by_role("link", name=name, exact=True))
    with page.expect_navigation():
        named.first.click()


def heading(page: Any) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_an_account_and_its_keys(stack: Any, page_without_javascript: Any, sign_up: Callable[..., None]):
    page, email = page_without_javascript, "scriptless@example.org"
    sign_up(page, email)

    # Out and in again, a wrong password first.
    page.goto(f"{stack.url}/accounts/logout/")
    press(page, "Log out")
    page.goto(f"{stack.url}/keys")
    assert "/accounts/login/?next=" in page.url
    page.locator("main [name=login]").fill(email)
    page.locator("main [name=password]").fill("wrong")
    press(page, "Log in")
    assert page.locator("main [role=alert], main .error, main .notice").count()
    page.locator("main [name=login]").fill(email)
    page.locator("main [name=password]").fill(PASSWORD)
    press(page, "Log in")
    assert page.url == f"{stack.url}/keys"

    # A key: made, shown once, renamed, rotated, revoked.
    page.goto(f"{stack.url}/keys?new")
    page.locator("main form:has([name=name]) [name=name]").fill("first")
    page.locator("main form:has([name=name]) button[type=submit]").click()
    made = SECRET.search(page.locator("main").inner_text())
    assert made is not None
    page.goto(f"{stack.url}/keys")
    assert made[0] not in page.content()
    with page.expect_navigation():
        page.locator("main").get_by_role("link", name="first", exact=True).click()
    address = page.url
    page.locator("main form:has([name=name]) [name=name]").fill("renamed")
    page.locator("main form:has([name=name]) button[type=submit]").first.click()
    page.goto(address)
    assert "renamed" in heading(page)
    page.goto(f"{address}/rotate")
    press(page, "Rotate key")
    rotated = SECRET.search(page.locator("main").inner_text())
    assert rotated is not None
    assert rotated[0] != made[0]
    page.goto(f"{address}/revoke")
    press(page, "Revoke key")
    page.goto(address)
    assert "Revoked" in page.locator("main").inner_text()


def test_search_filters_and_theme(stack: Any, page_without_javascript: Any):
    page = page_without_javascript
    page.goto(f"{stack.url}/models")
    everything = page.locator("#results").inner_text()
    page.locator("header [name=q]").fill("sentiment")
    page.locator("header [name=q]").press("Enter")
    page.wait_for_url(re.compile(r"/models\?.*q=sentiment"))
    assert page.locator("#results").get_by_role("link", name="Sentiment", exact=True).count() == 1
    assert page.locator("#results").inner_text() != everything

    # What no list holds is said, and leads on.
    page.goto(f"{stack.url}/models?q=xyzzyx")
    assert "No model" in page.locator("main").inner_text()

    # The theme is a link and a cookie.
    page.goto(f"{stack.url}/models?q=chat")
    page.locator("footer").get_by_role("link", name="Dark").click()
    page.wait_for_url(re.compile(r"/models\?q=chat$"))
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert [one["value"] for one in page.context.cookies() if one["name"] == "theme"] == ["dark"]
