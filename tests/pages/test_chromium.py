"""The checks in the browser can fail: small pages with one planted fault each, and just that is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pages.chromium import HEIGHT, SCHEMES, WIDTHS, Watch, faults, new_context
from tests.pages.rules import STRICT_CSP

pytestmark = pytest.mark.browser
SITE = "http://planted.localhost"  # nobody is asked: every answer is made here
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Planted</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/app.css"><script src="/app.js" defer></script></head>
<body><main><h1>Planted</h1><p>Some words.</p>{body}</main></body></html>"""
CSS = """:root { color-scheme: light dark; color: light-dark(#222, #ddd); background: light-dark(#fff, #111) }
p { overflow-wrap: anywhere }"""
Look = Callable[..., list[str]]


@pytest.fixture(scope="module")
def look(browser: Any) -> Iterator[Look]:
    """Show a page of this body, style sheet and script, and return its faults."""
    contexts = {scheme: new_context(browser, scheme) for scheme in SCHEMES}

    def show(
        body: str = "", css: str = "", js: str = "", headers: dict[str, str] | None = None, scheme: str = "light"
    ) -> list[str]:
        policy = "; ".join(f"{name} {value}" for name, value in STRICT_CSP.items())
        files = {
            "/": ("text/html", PAGE.format(body=body)),
            "/app.css": ("text/css", CSS + css),
            "/app.js": ("text/javascript", js),
        }

        def answer(route: Any) -> None:
            path = route.request.url.removeprefix(SITE)
            if path not in files:
                route.fulfill(status=404, body="")
                return
            kind, text = files[path]
            route.fulfill(body=text, content_type=kind, headers={"Content-Security-Policy": policy} | (headers or {}))

        page = contexts[scheme].new_page()
        page.route("**/*", answer)
        page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
        watch = Watch(page, SITE)
        page.goto(f"{SITE}/")
        page.wait_for_timeout(50)
        found = list(faults(page, watch))
        page.close()
        return found

    yield show
    for context in contexts.values():
        context.close()


def test_a_good_page_has_no_fault(look: Look):
    assert look("<button>Go</button>", js="document.body.dataset.ready = 1;") == []


LOOSE = {"Content-Security-Policy": "default-src * data:; connect-src *"}


@pytest.mark.parametrize(
    ("words", "planted"),
    [
        ("console: warning: careful", {"js": "console.warn('careful');"}),
        ("console: log: hello", {"js": "console.log('hello');"}),
        ("page error: broken", {"js": "throw new Error('broken');"}),
        ("page error", {"js": "Promise.reject(new Error('left alone'));"}),
        ("script-src-elem stopped inline", {"body": "<script>document.title = 'x';</script>"}),
        ("script-src-attr stopped inline", {"body": "<button onclick='go()'>Go</button>"}),
        ("style-src-attr stopped inline", {"body": "<p style='color: red'>Red</p>"}),
        ("style-src-elem stopped inline", {"body": "<style>p { margin: 0 }</style>"}),
        ("img-src stopped https://elsewhere.example/", {"body": "<img src='https://elsewhere.example/a.png' alt=''>"}),
        ("connect-src stopped", {"js": "fetch('https://elsewhere.example/').catch(() => 0);"}),
        ("asks somebody else: https://elsewhere.example/", {
            "body": "<img src='https://elsewhere.example/a.png' alt='' width=1 height=1>", "headers": LOOSE,
        }),
        ("answered with 404", {"body": "<img src='/lost.png' alt='' width=1 height=1>"}),
        ("scrolls sideways at 320 px", {"body": "<p class=w>Wide</p>", "css": ".w { width: 500px }"}),
        ("scrolls sideways at 768 px", {
            "body": "<p class=w>Wide</p>", "css": "@media (width: 768px) { .w { width: 900px } }",
        }),
        ("scrolls sideways at 1280 px", {"body": "<p class=w>Wide</p>", "css": ".w { width: 1400px }"}),
        ("jumps while it loads", {
            "body": "<p>Below</p>",
            "js": "requestAnimationFrame(() => requestAnimationFrame(() => { const one = document.createElement('p');"
            "one.className = 'tall'; document.querySelector('main').prepend(one); }));",
            "css": ".tall { height: 300px }",
        }),
        ("axe color-contrast", {"body": "<p class=pale>Pale</p>", "css": ".pale { color: light-dark(#bbb, #444) }"}),
        ("axe label", {"body": "<input name=q>"}),
        ("axe image-alt", {"body": "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' width=20 height=20>"}),
        ("axe button-name", {"body": "<button></button>"}),
        ("axe target-size", {
            "body": "<a href='/a' class=tiny>a</a><a href='/b' class=tiny>b</a>",
            "css": ".tiny { display: block; font-size: 6px; line-height: 6px }",
        }),
        ("axe heading-order", {"body": "<h4>Deep</h4>"}),
        ("at 320 px", {
            "body": "<p class=pale>Pale</p>", "css": "@media (width: 320px) { .pale { color: #999 } }",
        }),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(look: Look, words: str, planted: dict[str, Any]):
    found = look(**planted)
    assert any(words in fault for fault in found), found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_fails_in_one_theme_alone_is_found_there(look: Look, scheme: str):
    found = look("<p class=pale>Pale</p>", css=".pale { color: light-dark(#222, #333) }", scheme=scheme)
    assert bool(found) == (scheme == "dark")
    assert all("axe color-contrast" in fault for fault in found)
