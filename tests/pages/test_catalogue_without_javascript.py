"""Publishing a model, and what callers do with it, where no script runs. Only streaming and what waits need one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.pages.shelf import until

pytestmark = pytest.mark.browser
NAME = "Plainspoken"
TABS = ("Overview", "Playground", "API", "Versions", "Reviews", "Stats")


def press(page: Any, name: str | re.Pattern[str]) -> None:
    with page.expect_navigation():
        page.locator("main").get_by_role("button", name=name).first.click()


def test_a_model_is_published(stack: Any, page_without_javascript: Any, log_in: Callable[..., None]) -> None:
    page = page_without_javascript
    models = "http://" + stack.environment["OUTBOUND_ALLOWED_NETWORKS"].replace("/32", "")
    log_in(page, "developer", "/publish")

    # What is wrong is named above the form, with the way to the field; the rest stays as it was typed.
    page.locator("main").get_by_role("link", name="New model").first.click()
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("Version", exact=True).fill("one")
    page.get_by_label("Description", exact=True).fill("Says whether a text is friendly.")
    press(page, "Save and continue")
    summary = page.locator("main .errors")
    assert "Three numbers" in summary.inner_text()
    assert page.get_by_label("Name", exact=True).input_value() == NAME
    page.get_by_label("Version", exact=True).fill("1.0.0")
    press(page, "Save and continue")

    page.get_by_label("Address", exact=True).fill(f"{models}/sentiment")
    page.get_by_label("Protocol").select_option("json")
    press(page, "Save and test")
    for _once_more in range(60):  # no script looks again by itself
        again = page.locator("main").get_by_role("link", name="Look again")
        if not again.count():
            break
        page.wait_for_timeout(500)
        with page.expect_navigation():
            again.click()
    assert "Passed" in page.locator("main [role=status]").inner_text()

    page.locator("main").get_by_role("link", name="Continue").click()
    page.locator("main").get_by_role("radio", name=re.compile("^Paid")).check(force=True)
    page.get_by_label("Per call").fill("0.001")
    press(page, "Save and continue")
    press(page, "Publish model")
    assert "Published" in page.locator("main").inner_text()
    page.locator("main").get_by_role("link", name="Open its page").click()
    assert page.get_by_role("heading", level=1).inner_text() == NAME


def test_a_model_is_tried_deployed_and_reviewed(
    stack: Any, page_without_javascript: Any, log_in: Callable[..., None]
) -> None:
    page, path = page_without_javascript, "/models/demo/language-id"
    log_in(page, "consumer", path)
    tabs = page.get_by_role("navigation", name="About this model")
    for tab in TABS:
        with page.expect_navigation():
            tabs.get_by_role("link", name=tab).click()
        assert tab in tabs.locator("[aria-current]").inner_text()
        assert page.get_by_role("heading", level=1).inner_text() == "Language ID"

    page.goto(f"{stack.url}{path}/playground")
    page.get_by_label("Text", exact=False).first.fill("Où est la gare, s'il vous plaît ?")
    press(page, "Run")
    assert "French" in page.locator("#answer").inner_text()

    page.goto(stack.url + path)
    save = page.locator("main").get_by_role("button", name=re.compile("^Saved?$"))
    was = save.inner_text()
    press(page, re.compile("^Saved?$"))
    assert {was, save.inner_text()} == {"Save", "Saved"}
    page.locator("main").get_by_role("link", name="Deploy").click()
    page.get_by_label("Name", exact=True).fill("babel")
    press(page, "Make deployment")
    assert "babel" in page.get_by_role("heading", level=1).inner_text()

    # A review, changed and deleted, as soon as the run is settled.
    until(lambda: may_review(page, stack.url + path), 30)
    page.get_by_role("radio", name="4 stars").check(force=True)
    page.get_by_label("Your review").fill("Knows French from Catalan.")
    press(page, "Publish review")
    assert "Knows French from Catalan." in page.locator("main").inner_text()
    page.locator("main").get_by_role("link", name="Change or delete it").click()
    page.get_by_role("radio", name="3 stars").check(force=True)
    press(page, "Save review")
    assert "3 stars" in page.locator("main").inner_text()
    page.locator("main").get_by_role("link", name="Change or delete it").click()
    press(page, "Delete review")
    assert "Knows French" not in page.locator("main").inner_text()


def may_review(page: Any, address: str) -> bool:
    page.goto(f"{address}/reviews")
    return bool(page.get_by_role("heading", name="Write a review").count())
