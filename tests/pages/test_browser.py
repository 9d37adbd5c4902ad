"""Every page in a real Chromium, in both themes and at three widths: no complaint, no stranger, no jump, no barrier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.pages.chromium import AXE, AXE_OF_A_THEME, HEIGHT, SCHEMES, WIDTHS, Watch, faults, new_context, visit
from tests.pages.excused import LET_PASS, is_let_pass
from tests.pages.states import Sight, sights
from tests.pages.visitor import Visitors

pytestmark = pytest.mark.browser


@dataclass(frozen=True, slots=True)
class Window:
    """One page of the browser, which every page of the site is shown in: to open one for each takes long."""

    page: Any
    watch: Watch


@pytest.fixture(scope="module")
def windows(browser: Any) -> Iterator[dict[str, Window]]:
    """One for each theme."""
    contexts = {scheme: new_context(browser, scheme) for scheme in SCHEMES}
    pages = {scheme: context.new_page() for scheme, context in contexts.items()}
    yield {scheme: Window(page, Watch(page, "")) for scheme, page in pages.items()}
    for context in contexts.values():
        context.close()


def look(windows: dict[str, Window], visitors: Visitors, sight: Sight, scheme: str) -> list[str]:
    """Every fault, those that are let pass too. Of the barriers the second theme shows only those that it decides."""
    visitor, path = sight.prepare(visitors)
    page, watch = windows[scheme].page, windows[scheme].watch
    page.context.clear_cookies()
    page.context.add_cookies(
        [{"name": name, "value": value, "url": visitor.url} for name, value in visitor.cookies.items()]
    )
    widths = WIDTHS if scheme == "light" else WIDTHS[::-1]  # between them, pages load at both ends
    page.set_viewport_size({"width": widths[0], "height": HEIGHT})
    watch.turn_to(visitor.url)
    try:
        assert visit(page, visitor.url + path, dict(sight.fields)) == sight.status
        return list(faults(page, watch, widths, axe=AXE if scheme == "light" else AXE_OF_A_THEME))
    finally:
        page.evaluate("() => sessionStorage.clear()")
        page.goto("about:blank")  # what the page still says is heard before somebody else is looked at


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sight", sights(), ids=str)
def test_every_page_is_without_fault(windows: dict[str, Window], visitors: Visitors, sight: Sight, scheme: str):
    found = [one for one in look(windows, visitors, sight, scheme) if not is_let_pass(sight.name, one)]
    if any(one.startswith("jumps") for one in found):
        # A busy machine may paint once before a font is there that was asked for first of all.
        again = any(one.startswith("jumps") for one in look(windows, visitors, sight, scheme))
        found = [one for one in found if again or not one.startswith("jumps")]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", sorted({excuse.example for excuse in LET_PASS if excuse.example}))
def test_what_is_let_pass_still_happens(windows: dict[str, Window], visitors: Visitors, name: str):
    sight = next(sight for sight in sights() if sight.name == name)
    found = look(windows, visitors, sight, "light")
    for excuse in LET_PASS:
        if excuse.example == name:
            assert re.fullmatch(r"[A-Z].*\.", excuse.why)
            assert any(re.match(excuse.rule, one) and re.search(excuse.fault, one) for one in found), excuse
