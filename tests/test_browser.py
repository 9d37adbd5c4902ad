"""The newcomer's journey in a real Chromium. Any console message, page error or CSP violation fails it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import Client, code_in

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PASSWORD = "a long way to Tipperary"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture(params=["light", "dark"])
def page(request, browser) -> Iterator[Any]:
    """A page that remembers everything it complained about; the test fails if it did."""
    complaints: list[str] = []
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
    page.on("requestfailed", lambda failed: complaints.append(f"failed: {failed.url}") if has_failed(failed) else None)
    page.on(
        "request", lambda sent: complaints.append(f"left the site: {sent.url}") if "localhost" not in sent.url else None
    )
    page.scheme = request.param
    yield page
    context.close()
    assert complaints == []


def has_failed(request: Any) -> bool:
    """Not when the page that asked was left meanwhile."""
    return request.failure != "net::ERR_ABORTED"


def sign_up(page: Any, stack: Any, email: str) -> None:
    page.goto(f"{stack.url}/accounts/signup/")
    page.get_by_label("Name").fill("Newcomer")
    page.get_by_label(re.compile("mail", re.I)).first.fill(email)
    page.get_by_label("Password").first.fill(PASSWORD)
    page.locator("main").get_by_role("button", name="Sign up").click()
    code = code_in(stack.wait_for_mail(email))
    page.locator("main input[type=text], main input[name=code]").first.fill(code)
    page.locator("main").get_by_role("button", name=re.compile("confirm|verify|continue", re.I)).first.click()
    page.wait_for_url(f"{stack.url}/")


def test_from_the_first_page_to_the_metered_call(stack: Any, page: Any) -> None:
    email = f"newcomer-{page.scheme}@example.org"

    # Finds a real model.
    page.goto(stack.url)
    page.get_by_role("combobox", name=re.compile("search", re.I)).first.fill("sentiment")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/models\?"))
    page.get_by_role("link", name="Sentiment", exact=True).click()
    page.wait_for_url(re.compile("/models/demo/sentiment$"))
    assert page.get_by_role("heading", level=1).inner_text() == "Sentiment"

    # Signs up and tries it.
    sign_up(page, stack, email)
    page.goto(f"{stack.url}/models/demo/language-id")
    page.get_by_label("Text").fill("Wo ist der Bahnhof, bitte?")
    page.get_by_role("button", name=re.compile("^run", re.I)).click()
    page.wait_for_load_state()
    assert "German" in page.locator("main").inner_text()
    assert "$0.001" in page.locator("#run").inner_text()

    # Makes a key, which is shown once.
    page.goto(f"{stack.url}/keys")
    if not page.get_by_label("Name").first.is_visible():
        page.get_by_role("button", name="New key").first.click()
    page.get_by_label("Name").first.fill("laptop")
    page.get_by_role("button", name=re.compile("create|make", re.I)).first.click()
    secret = re.search(r"agr_live_[0-9A-Za-z]{38}", page.locator("main").inner_text())
    assert secret is not None
    page.goto(f"{stack.url}/keys")
    assert secret[0] not in page.content()
    assert "laptop" in page.locator("main").inner_text()

    # Calls the model with it, and sees the call metered and priced.
    answer = Client(stack.url, secret[0]).post("/api/models/demo:language-id/invoke", {"text": "Where is the station?"})
    assert answer.status == 200, answer
    page.goto(f"{stack.url}/usage")
    shown = page.locator("main").inner_text()
    assert answer.headers["x-request-id"] in shown
    assert "$0.002" in shown
    assert "laptop" in shown


PAGES = ["/", "/models", "/models?q=chat", "/models/demo/eliza", "/docs/errors", "/api/docs", "/dev/mail"]
SIGNED_IN = [
    "/",
    "/keys",
    "/usage",
    "/settings/profile",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
]


def test_every_page_is_clean_and_fits_a_phone(stack: Any, page: Any) -> None:
    """No complaint, and nothing sticks out sideways at 320 px."""

    def look(path: str) -> None:
        answer = page.goto(stack.url + path)
        page.wait_for_load_state("networkidle")
        assert answer.status == 200, path
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            if not path.startswith("/api/docs"):  # somebody else's page
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
        assert page.locator("h1").count() == 1 or path.startswith("/api/docs"), path

    for path in [*PAGES, "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"]:
        look(path)
    sign_up(page, stack, f"pages-{page.scheme}@example.org")
    for path in SIGNED_IN:
        look(path)


def test_staff_find_their_way_in_the_admin(stack: Any, page: Any) -> None:
    staff = stack.demo["users"]["staff"]
    page.goto(f"{stack.url}/accounts/login/?next=/admin/")
    page.get_by_label(re.compile("mail", re.I)).first.fill(staff["email"])
    page.get_by_label("Password").first.fill(staff["password"])
    page.locator("main").get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{stack.url}/admin/")
    links = page.locator("#content-main th a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    ours = [link for link in links if "djstripe" not in link]
    assert len(ours) >= 12, ours
    for link in ours:
        assert page.goto(stack.url + link).status == 200, link


def test_it_works_without_javascript(stack: Any, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_up(page, stack, "noscript@example.org")
    page.goto(f"{stack.url}/models?q=sentiment")
    page.get_by_role("link", name="Sentiment", exact=True).click()
    page.get_by_label("Text").fill("I love this")
    page.get_by_role("button", name=re.compile("^run", re.I)).click()
    assert "positive" in page.locator("main").inner_text()
    page.goto(f"{stack.url}/keys")
    page.get_by_label("Name").first.fill("noscript")
    page.get_by_role("button", name=re.compile("create|make", re.I)).first.click()
    assert re.search(r"agr_live_[0-9A-Za-z]{38}", page.locator("main").inner_text())
    context.close()


@pytest.mark.parametrize("path", ["/no/such/page", "/models/demo/no-such-model", "/models?nonsense=1"])
def test_an_error_page_keeps_the_frame(stack: Any, browser: Any, path: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(stack.url + path)
    assert answer.status in (200, 400, 404)
    assert page.get_by_role("combobox").count() >= 1
    if answer.status >= 400:
        assert re.search(r"req_[0-9a-z]{26}", page.content())
    context.close()
