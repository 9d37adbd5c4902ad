"""Visitors of a whole running instance, with and without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client import code_in
from tests.pages.chromium import CHROMIUM, FLAGS, SCHEMES, Watch
from tests.pages.visitor import PASSWORD, Visitors


@pytest.fixture(scope="package")
def visitors(stack: Any) -> Visitors:
    return Visitors(stack)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture(params=SCHEMES)
def page(request: pytest.FixtureRequest, browser: Any, stack: Any) -> Iterator[Any]:
    """A page in either theme. Whatever it complains of fails the test. `scheme` is its theme."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.scheme = request.param
    watch = Watch(page, stack.url)
    yield page
    context.close()
    assert watch.faults == []


@pytest.fixture
def page_without_javascript(browser: Any, stack: Any) -> Iterator[Any]:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.scheme = "noscript"
    watch = Watch(page, stack.url)
    yield page
    context.close()
    assert watch.faults == []


@pytest.fixture
def sign_up(stack: Any) -> Callable[[Any, str], None]:
    """`sign_up(page, email)`: a new person, by the forms, mail included; ends where the site leads."""

    def by_forms(page: Any, email: str, name: str = "Nora Newcomer") -> None:
        page.goto(f"{stack.url}/accounts/signup/")
        form = page.locator("main form")
        form.get_by_label("Name").fill(name)
        form.get_by_label(re.compile("mail", re.I)).fill(email)
        form.locator("[name=password1]").fill(PASSWORD)
        form.locator("button[type=submit]").first.click()
        page.wait_for_url(re.compile("/accounts/confirm-email/"))
        page.locator("main [name=code]").fill(code_in(stack.wait_for_mail(email)))
        with page.expect_navigation():
            page.locator("main form:has([name=code]) button[type=submit]").first.click()

    return by_forms


@pytest.fixture
def log_in(stack: Any) -> Callable[..., None]:
    """`log_in(page, "consumer")`: one of the demo's people, by the form, on the way to `path`."""

    def by_form(page: Any, role: str, path: str = "/") -> None:
        person = stack.demo["users"][role]
        page.goto(f"{stack.url}/accounts/login/?next={path}")
        page.locator("main [name=login]").fill(person["email"])
        page.locator("main [name=password]").fill(person["password"])
        page.locator("main form:has([name=password]) button[type=submit]").first.click()
        page.wait_for_url(stack.url + path)

    return by_form
