"""A theme that changes while a page is open, by its links or by the system's: the whole page follows at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages.chromium import AXE_OF_A_THEME, SCHEMES, Watch, barriers, new_context

pytestmark = pytest.mark.browser


@pytest.fixture(params=SCHEMES)
def page(request: pytest.FixtureRequest, browser: Any, stack: Any) -> Iterator[Any]:
    """A page whose reader wants no motion. `scheme` is its theme, `other` the one to come."""
    context = new_context(browser, request.param)
    page = context.new_page()
    page.scheme = request.param
    page.other = next(scheme for scheme in SCHEMES if scheme != request.param)
    watch = Watch(page, stack.url)
    yield page
    context.close()
    assert watch.faults == []


def colours(page: Any) -> dict[str, str]:
    return page.evaluate("""() => Object.fromEntries([...document.querySelectorAll("body *")].map((one, number) =>
        [`${number} ${one.tagName}.${one.className}`, getComputedStyle(one).color]))""")


@pytest.mark.parametrize("path", ["/", "/models?view=table", "/models/demo/eliza"])
def test_every_colour_follows_the_system_at_once(stack: Any, page: Any, path: str):
    page.goto(stack.url + path)
    before = colours(page)
    page.emulate_media(color_scheme=page.other)
    after = colours(page)  # in the very frame, so that nothing has had time to arrive later
    page.reload()
    settled = colours(page)
    assert after == settled
    assert before != settled


def test_a_link_changes_the_open_page_without_a_barrier(stack: Any, page: Any):
    page.goto(stack.url)
    page.locator(f"footer [data-value={page.other}]").click()
    assert page.locator("html").get_attribute("data-theme") == page.other
    assert barriers(page, AXE_OF_A_THEME) == []
