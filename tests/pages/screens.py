"""`make screenshots`: every page in four states, into build/screens/. Not a test; pytest gives it the instance."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.pages.chromium import HEIGHT, SCHEMES, SETTLE, new_context, visit
from tests.pages.states import Sight, sights
from tests.pages.visitor import Visitors

FOLDER: Path = settings.BASE_DIR / "build" / "screens"
WIDTHS = (360, 1280)


@pytest.mark.parametrize("sight", sights(), ids=str)
def test_picture(browser: Any, visitors: Visitors, sight: Sight):
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", sight.name)
    for scheme in SCHEMES:
        visitor, path = sight.prepare(visitors)
        context = new_context(browser, scheme, viewport={"width": WIDTHS[0], "height": HEIGHT})
        context.add_cookies(
            [{"name": key, "value": value, "url": visitor.url} for key, value in visitor.cookies.items()]
        )
        page = context.new_page()
        visit(page, visitor.url + path, dict(sight.fields))
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            page.evaluate(SETTLE)
            page.screenshot(path=FOLDER / f"{name}-{scheme}-{width}.png", full_page=True)
        context.close()
