"""Every page in a real Chromium, in both themes and at three widths: no complaint, no stranger, no jump, no barrier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages.chromium import HEIGHT, SCHEMES, WIDTHS, Watch, faults, new_context, visit
from tests.pages.excused import is_let_pass
from tests.pages.site import Sight, sights
from tests.pages.visitor import Visitors

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def contexts(browser: Any) -> Iterator[dict[str, Any]]:
    """One for each theme, which every page uses in turn."""
    made = {scheme: new_context(browser, scheme) for scheme in SCHEMES}
    yield made
    for context in made.values():
        context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sight", sights(), ids=str)
def test_every_page_is_without_fault(contexts: dict[str, Any], visitors: Visitors, sight: Sight, scheme: str):
    visitor, path = sight.prepare(visitors)
    context = contexts[scheme]
    context.clear_cookies()
    context.add_cookies([{"name": name, "value": value, "url": visitor.url} for name, value in visitor.cookies.items()])
    widths = WIDTHS if scheme == "light" else WIDTHS[::-1]  # between them, pages load at both ends
    page = context.new_page()
    try:
        page.set_viewport_size({"width": widths[0], "height": HEIGHT})
        watch = Watch(page, visitor.url)
        assert visit(page, visitor.url + path, dict(sight.fields)) == sight.status
        found = [fault for fault in faults(page, watch, widths) if not is_let_pass(sight.name, fault)]
    finally:
        page.close()
    assert not found, "\n".join(found)
