"""What a chart says under the pointer and the arrow keys, in a real browser and under the strict policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.template.loader import get_template

from config.templatetags import site

pytestmark = pytest.mark.browser

ADDRESS = "http://charts.test"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Charts</title>
<link rel="stylesheet" href="/css/app.css"><script src="/js/charts.js" type="module"></script></head>
<body><main><h1>Charts</h1><div id="here">CHART</div></main>
<p class="vh" id="announce" role="status"></p></body></html>"""


def chart() -> str:
    labels = [f"{day} Oct" for day in range(1, 31)]
    series = [("acme/aurora-70b", [20.0 + day for day in range(30)]), ("Other", [1.5] * 30)]
    html: str = get_template("components/chart.html").render(site.chart("Spend", labels, series, "Spend by day", "$"))
    return html


@pytest.fixture(params=[1280, 320])
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": request.param, "height": 700})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def answer(route: Any) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        if path == "/":
            headers = {"Content-Security-Policy": POLICY, "Content-Type": "text/html"}
            route.fulfill(body=PAGE.replace("CHART", chart()), headers=headers)
        elif (file := settings.BASE_DIR / "static" / path[1:]).suffix in (".css", ".js"):
            route.fulfill(path=file)
        else:
            route.fulfill(status=204)

    page.route("**", answer)
    page.goto(ADDRESS + "/")
    yield page
    context.close()
    # No fonts here, on purpose.
    assert [text for text in complaints if "font" not in text] == []


def test_the_pointer_shows_the_figures_of_a_bucket_inside_the_frame(page):
    plot = page.locator(".plot")
    for number in (0, 15, 29):
        plot.locator(".hit").nth(number).hover()
        tip = page.locator(".tip")
        assert tip.inner_text().splitlines() == [
            *(f"{number + 1} Oct", f"acme/aurora-70b ${20 + number}.00", "Other $1.50", f"Total ${21 + number}.50")
        ]
        frame, box = plot.bounding_box(), tip.bounding_box()
        assert frame["x"] <= box["x"]
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    page.keyboard.press("Escape")
    assert page.locator(".tip").count() == 0
    plot.locator(".hit").nth(3).hover()
    page.locator("h1").hover()
    assert page.locator(".tip").count() == 0


def test_the_arrow_keys_walk_along_the_buckets_and_say_each(page):
    page.locator(".plot").focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "End", "ArrowRight", "Home"):
        page.keyboard.press(key)
        said.append(page.locator("#announce").inner_text().partition(",")[0])
    assert said == ["1 Oct", "2 Oct", "1 Oct", "1 Oct", "30 Oct", "30 Oct", "1 Oct"]
    assert "acme/aurora-70b $20.00, Other $1.50" in page.locator("#announce").inner_text()
    page.keyboard.press("Tab")
    assert page.locator(".tip").count() == 0


def test_a_chart_that_came_later_needs_no_set_up(page):
    page.evaluate("""() => { const here = document.getElementById("here"); here.innerHTML = here.innerHTML; }""")
    page.locator(".hit").nth(4).hover()
    assert page.locator(".tip").inner_text().startswith("5 Oct")


def test_where_there_is_little_room_words_stay_legible_and_every_second_one_goes(page):
    narrow = page.viewport_size["width"] < 560
    sizes = page.locator(".axis").evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    shown = [size for size in sizes if size]
    assert min(shown) >= 8
    assert (len(shown) < len(sizes)) == narrow
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
