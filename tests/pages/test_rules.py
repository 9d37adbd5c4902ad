"""The rules can fail: a page with one planted fault of each kind, and only that rule complains."""

import pytest

from tests.pages import rules
from tests.pages.html import Page

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Keys · Agorai</title>
<link rel="stylesheet" href="/static/css/app.css">
<script src="/static/js/app.js" type="module"></script>
</head>
<body>
<a href="#main">Skip to content</a>
<main id="main">
<h1>Keys</h1>
<p>A key <a href="https://example.org/">opens</a> models.
<img src="/static/plan.png" alt="" width="20" height="10">
<svg aria-hidden="true"><path d="M0 0"/></svg><svg role="img" aria-label="A rise"><path d="M0 0"/></svg>
<h2 id="new">New</h2>
<form method="post" action="/keys">
<input type="hidden" name="csrfmiddlewaretoken" value="x">
<label for="name">Name</label> <input id="name" name="name" aria-describedby="help"> <span id="help">Yours.</span>
<label><input type="checkbox" name="live"> Live</label>
<button type="submit">Create</button>
</form>
<form action="/models"><input name="q" aria-label="Search"><button><svg aria-hidden="true"/><title>Go</title></button>
</form>
</main>
</body>
</html>
"""
H1 = "<h1>Keys</h1>"
TOKEN = '<input type="hidden" name="csrfmiddlewaretoken" value="x">'


def test_a_good_page_has_no_fault():
    assert rules.faults(PAGE) == {}


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("nothing_inline", H1, H1 + "<script>alert(1)</script>"),
        ("nothing_inline", H1, H1 + '<script type="module">alert(1)</script>'),
        ("nothing_inline", H1, H1 + "<style>p { color: red }</style>"),
        ("nothing_inline", H1, '<h1 style="color: red">Keys</h1>'),
        ("nothing_inline", "<button type", '<button onclick="go()" type'),
        ("nothing_inline", "<button type", '<button ONFOCUS="go()" type'),
        ("nothing_inline", "<button type", '<button hx-on:click="go()" type'),
        ("nothing_inline", "<button type", '<button hx-vals="js:{a: 1}" type'),
        ("nothing_inline", "<button type", '<button hx-trigger="click[ctrlKey]" type'),
        ("nothing_inline", "https://example.org/", "javascript:alert(1)"),
        ("nothing_inline", "https://example.org/", " JavaScript:alert(1)"),
        ("nothing_inline", H1, H1 + '<iframe srcdoc="x" width="1" height="1" title="x"></iframe>'),
        ("nothing_from_elsewhere", "/static/js/app.js", "https://cdn.example/app.js"),
        ("nothing_from_elsewhere", "/static/css/app.css", "//cdn.example/app.css"),
        ("nothing_from_elsewhere", "/static/plan.png", "http://cdn.example/plan.png"),
        ("nothing_from_elsewhere", 'alt=""', 'alt="" srcset="/a.png 1x, https://cdn.example/b.png 2x"'),
        ("nothing_from_elsewhere", 'action="/keys"', 'action="https://example.org/keys"'),
        ("nothing_from_elsewhere", "<button type", '<button formaction="//example.org" type'),
        ("nothing_from_elsewhere", "<button type", '<button hx-get="https://example.org" type'),
        ("nothing_from_elsewhere", "<title>Keys", '<base href="/elsewhere/"><title>Keys'),
        ("nothing_from_elsewhere", "<title>Keys", '<meta http-equiv="refresh" content="1"><title>Keys'),
        ("one_h1", H1, H1 + "<h1>Keys again</h1>"),
        ("headings_in_order", '<h2 id="new">New</h2>', '<h3 id="new">New</h3>'),
        ("headings_in_order", H1, "<h2>Before</h2>" + H1),
        ("headings_in_order", '<h2 id="new">New', '<h2 id="new">'),
        ("every_control_labelled", "<label for", "<label class"),
        ("every_control_labelled", ">Name</label>", "></label>"),
        ("every_control_labelled", "> Live</label>", "></label>"),
        ("every_control_labelled", 'aria-label="Search"', 'aria-label=" "'),
        ("every_control_labelled", 'aria-label="Search"', 'aria-labelledby="name"'),
        ("every_control_labelled", 'aria-label="Search"', 'placeholder="Search"'),
        ("every_control_labelled", ">Create<", "><"),
        ("every_control_labelled", ">opens<", "><"),
        ("every_image_described_and_sized", ' alt=""', ""),
        ("every_image_described_and_sized", ' width="20"', ""),
        ("every_image_described_and_sized", ' height="10"', ' height="auto"'),
        ("every_image_described_and_sized", ' aria-label="A rise"', ""),
        ("every_image_described_and_sized", '<svg aria-hidden="true"><path', "<svg><path"),
        ("unique_ids", 'id="new"', 'id="main"'),
        ("unique_ids", 'id="new"', 'id="n e w"'),
        ("references_lead_somewhere", 'aria-describedby="help"', 'aria-describedby="hint"'),
        ("references_lead_somewhere", "#main", "#content"),
        ("references_lead_somewhere", "<button type", '<button popovertarget="menu" type'),
        ("language_and_title", ' lang="en"', ""),
        ("language_and_title", "Keys · Agorai", " · Agorai"),
        ("language_and_title", "<title>Keys · Agorai</title>", ""),
        ("every_tag_closed", H1, H1 + "<div>"),
        ("every_tag_closed", H1, H1 + "</div>"),
        ("forms_protected", TOKEN, ""),
        ("forms_protected", '<input name="q"', TOKEN + '<input name="q"'),
        ("forms_protected", H1, H1 + '<button hx-delete="/keys/1">Delete</button>'),
        ("forms_protected", H1, H1 + '<p hx-post="/price" hx-include="#name"></p>'),
        ("small_html", H1, H1 + "".join(f"<p>{number * 7919 % 99991:x}</p>" for number in range(30_000))),
    ],
)
def test_a_planted_fault_is_found(rule: str, old: str, new: str):
    page = PAGE.replace(old, new, 1)
    assert page != PAGE
    assert set(rules.faults(page)) == {rule}


def test_a_part_may_send_the_form_that_it_includes():
    page = PAGE.replace('action="/keys"', 'action="/keys" id="make"')
    page = page.replace("<h2", '<p hx-post="/price" hx-include="#make"></p><h2')
    assert rules.faults(page) == {}


def test_a_missing_h1_is_found():
    assert "one_h1" in rules.faults(PAGE.replace(H1, ""))


def test_a_missing_main_is_found():
    assert "language_and_title" in rules.faults(PAGE.replace("<main", "<div").replace("</main", "</div"))


def test_a_part_needs_no_title_but_all_the_rest():
    assert rules.faults("<ul id=results><li>One<li>Two</ul>") == {}
    found = rules.faults("<ul id=results><li><img src=/a.png><li><input name=q></ul>")
    assert set(found) == {"every_image_described_and_sized", "every_control_labelled"}


STRICT = "; ".join(f"{name} {value}" for name, value in rules.STRICT_CSP.items())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-security-policy": STRICT.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")},
        {"content-security-policy": STRICT.replace("script-src 'self'; ", "")},
        {"content-security-policy": STRICT + "; frame-src https://example.org"},
        {"content-security-policy": STRICT, "content-security-policy-report-only": "default-src 'self'"},
    ],
)
def test_a_looser_policy_is_found(headers: dict[str, str]):
    assert list(rules.strict_csp(headers))


def test_the_strict_policy_passes():
    assert list(rules.strict_csp({"content-security-policy": STRICT})) == []


def noise(length: int) -> str:
    """Text that gzip cannot make much smaller than half."""
    return "".join(f"{number * 2654435761 % 2**32:x}" for number in range(length // 8))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/static/css/app.css": noise(40_000)}, "bytes of CSS"),
        ({"/static/js/app.js": noise(80_000)}, "bytes of JavaScript"),
        ({"/static/js/app.js": 'import { x } from "./part.js";', "/static/js/part.js": noise(80_000)}, "part.js"),
        ({"/static/js/app.js": 'await import("../late.js");', "/static/late.js": noise(80_000)}, "late.js"),
    ],
)
def test_a_file_over_its_budget_is_found(files: dict[str, str], words: str):
    served = {"/static/css/app.css": "", "/static/js/app.js": ""} | files
    found = list(rules.small_files(Page(PAGE), served.__getitem__))
    assert len(found) == 1
    assert words in found[0]
    assert list(rules.small_files(Page(PAGE), lambda address: "")) == []
