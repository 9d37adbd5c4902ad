"""What newcomers do, from the first page to the metered call: by mouse, by keyboard alone, without JavaScript."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.client import Client
from tests.pages.chromium import CHROMIUM

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed: apt-get install chromium"),
]

SECRET = re.compile(r"agr_live_[0-9A-Za-z]{38}")
SAID = "I dream of trains."


def main(page: Any) -> Any:
    return page.locator("main")


def test_sign_up_key_playground_code_usage(stack: Any, page: Any, sign_up: Callable[..., None]) -> None:
    email = f"journey-{page.scheme}@example.org"

    # Finds a model on the start page, and types something before having an account.
    page.goto(stack.url)
    page.get_by_role("combobox", name="What should the model do?").fill("eliza")
    page.get_by_role("option").filter(has_text="demo/eliza").first.click()
    page.wait_for_url(f"{stack.url}/models/demo/eliza")
    page.get_by_role("link", name="Playground", exact=True).last.click()
    page.get_by_label("Message", exact=False).first.fill(SAID)
    page.get_by_role("button", name="Log in to run it").click()
    page.wait_for_url(re.compile("/accounts/login/"))
    kept = page.url.partition("next=")[2]
    assert "trains" in kept

    # Signs up and makes a key, which is shown once, with a limit of its own.
    sign_up(page, email)
    page.goto(f"{stack.url}/keys")
    page.get_by_role("button", name="Make a key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Name").fill("laptop")
    dialog.get_by_label(re.compile("^Spend limit")).fill("5")
    dialog.get_by_role("button", name="Make key").click()
    page.wait_for_selector(".reveal")
    found = SECRET.search(main(page).inner_text())
    assert found is not None
    secret = found[0]
    assert f"OPENAI_BASE_URL={stack.url}/v1" in main(page).inner_text()
    assert "Waiting for the first request" in main(page).inner_text()

    # The first request arrives while the page waits for it.
    call = {"model": "demo/eliza", "messages": [{"role": "user", "content": "Hello"}]}
    assert Client(stack.url, secret).post("/v1/chat/completions", call).status == 200
    page.get_by_text(re.compile(r"Received \d\d:\d\d:\d\d")).wait_for(timeout=20_000)
    page.goto(f"{stack.url}/keys")
    assert secret not in page.content()
    assert "laptop" in main(page).inner_text()
    assert "$5.00" in main(page).inner_text()

    # The playground streams an answer and says what it cost.
    page.goto(f"{stack.url}/models/demo/eliza/playground")
    page.get_by_label("Message", exact=False).first.fill(SAID)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('[data-cell="cost"] a')
    assert page.locator('[data-cell="status"] dd').inner_text() == "200"
    assert "ms" in page.locator('[data-cell="first"] dd').inner_text()
    answer = page.locator("#answer").inner_text()
    assert answer
    assert "Nothing" not in answer
    cost = page.locator('[data-cell="cost"] dd').inner_text()
    assert cost.startswith("$0.0000")

    # Raw is what was sent and what came; Code is the same request, and runs.
    page.locator("#run").get_by_text("Raw JSON").click()
    assert SAID in page.locator("#asked").inner_text()
    assert "[DONE]" in page.locator("#raw").inner_text()
    page.locator("#run").get_by_text("Code", exact=True).click()
    source = page.locator("#code pre").first.inner_text()
    assert source.startswith("curl ")
    assert SAID in source
    ran = subprocess.run(
        ["bash", "-c", source],
        env=os.environ | {"AGORAI_API_KEY": secret},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "choices" in ran.stdout

    # The receipt, the request log and the usage page tell the same story.
    page.locator('[data-cell="cost"] a').click()
    page.wait_for_url(re.compile("/requests/req_"))
    assert cost in main(page).inner_text()
    page.goto(f"{stack.url}/requests")
    assert page.locator("main table tbody tr").count() == 3
    page.goto(f"{stack.url}/usage")
    shown = main(page).inner_text()
    assert "demo/eliza" in shown
    assert re.search(r"Requests\s+3\b", shown)

    # Whoever comes back with what was typed before the account finds it in the form.
    page.goto(f"{stack.url}/accounts/login/?next={kept}")
    page.wait_for_url(re.compile("/models/demo/eliza/playground"))
    assert page.get_by_label("Message", exact=False).first.input_value() == SAID


def test_search_with_the_keyboard_alone(stack: Any, page: Any) -> None:
    page.goto(f"{stack.url}/docs/errors")
    page.keyboard.press("/")
    field = page.locator(":focus")
    assert field.get_attribute("role") == "combobox"
    with page.expect_response(re.compile("q=langage$")):  # a slow machine asks for its beginnings too
        page.keyboard.type("langage")  # with a typing error
    page.get_by_role("option").filter(has_text="Language ID").first.wait_for()
    assert field.get_attribute("aria-expanded") == "true"

    page.keyboard.press("ArrowDown")
    chosen = page.locator(f"#{field.get_attribute('aria-activedescendant')}")
    assert chosen.get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    assert field.get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/models/demo/language-id$"))

    # A filter by keyboard: the list changes, the focus stays, the address holds it, "back" takes it back.
    page.goto(f"{stack.url}/models")
    page.get_by_role("checkbox", name=re.compile("^Embeddings")).focus()
    page.keyboard.press("Space")
    page.wait_for_url(re.compile("category=embeddings"))
    page.get_by_role("link", name="Aurora 70B").wait_for(state="detached")
    assert page.locator(":focus").get_attribute("value") == "embeddings"
    assert page.get_by_role("link", name="Embed", exact=True).count() == 1
    page.go_back()
    page.get_by_role("link", name="Aurora 70B").first.wait_for()
    assert "category" not in page.url


def test_the_same_without_javascript(stack: Any, page_without_javascript: Any, sign_up: Callable[..., None]) -> None:
    page = page_without_javascript

    # Search and filters are forms and links.
    page.goto(stack.url)
    page.get_by_role("combobox", name="What should the model do?").fill("language")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(re.compile(r"/models\?q=language"))
    page.get_by_role("link", name="Language ID", exact=True).click()
    page.wait_for_url(f"{stack.url}/models/demo/language-id")
    page.goto(f"{stack.url}/models")
    page.get_by_role("checkbox", name=re.compile("^Embeddings")).check()
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("category=embeddings"))
    assert page.get_by_role("link", name="Embed", exact=True).count() == 1

    # Account, key and run are posted forms.
    sign_up(page, "journey-noscript@example.org")
    page.goto(f"{stack.url}/keys")
    page.get_by_role("link", name="Make a key").first.click()
    page.get_by_role("textbox", name="Name").fill("script")
    page.get_by_role("button", name="Make key").click()
    found = SECRET.search(main(page).inner_text())
    assert found is not None
    assert Client(stack.url, found[0]).post("/api/models/demo:sentiment/invoke", {"text": "Fine."}).status == 200
    page.goto(f"{stack.url}/models/demo/language-id/playground")
    page.get_by_label("Text", exact=False).first.fill("Wo ist der Bahnhof, bitte?")
    page.get_by_role("button", name="Run").click()
    page.wait_for_load_state()
    assert "German" in main(page).inner_text()
    assert "$0.001" in page.locator("#figures").inner_text()
    page.goto(f"{stack.url}/usage")
    shown = main(page).inner_text()
    assert "demo/language-id" in shown
    assert "demo/sentiment" in shown
