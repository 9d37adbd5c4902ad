"""What every page must keep to. Each rule is a function from a page to its faults, in words; none asks for a browser.

`RULES` are those of whole pages, `PART_RULES` those of parts that htmx swaps in. `test_rules.py` plants a fault of
every kind.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from urllib.parse import urljoin, urlsplit

from tests.pages.html import Element, Page

STRICT_CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
HTML_BYTES, CSS_BYTES, JS_BYTES = 30 * 1024, 10 * 1024, 25 * 1024  # as gzip sends them
LOADED = {  # attributes whose address the browser asks for by itself, or sends a form to
    "src": (),
    "srcset": (),
    "poster": (),
    "background": (),
    "data": ("object",),
    "href": ("link", "base", "image", "use"),
    "xlink:href": (),
    "action": (),
    "formaction": (),
    "ping": (),
    **{f"hx-{verb}": () for verb in ("get", "post", "put", "patch", "delete")},
    "hx-push-url": (),
}
REFERENCES = {  # attributes that name ids of the same page
    *("for", "list", "form", "popovertarget", "commandfor", "headers"),
    *(f"aria-{name}" for name in ("labelledby", "describedby", "controls", "owns", "errormessage", "activedescendant")),
}
CODE = re.compile(r"[\s\x00-\x1f]*(javascript:|vbscript:|js:|data:text/html)", re.I)
UNLABELLED = {"hidden", "submit", "button", "reset", "image"}
Rule = Callable[[Page], Iterator[str]]


def gzipped(data: bytes) -> int:
    return len(gzip.compress(data, 6, mtime=0))


# --- The answer's headers ---


def strict_csp(headers: Mapping[str, str]) -> Iterator[str]:
    """`headers` with names in lower case."""
    sent = headers.get("content-security-policy", "")
    found = dict(part.strip().partition(" ")[::2] for part in sent.split(";") if part.strip())
    if found != STRICT_CSP:
        yield f"the content security policy is {sent!r}"
    if "content-security-policy-report-only" in headers:
        yield "a second content security policy only reports"


# --- What the content security policy would stop ---


def nothing_inline(page: Page) -> Iterator[str]:
    for one in page.elements:
        if one.tag == "style":
            yield f"{one}: a style sheet in the page"
        if one.tag == "script" and "src" not in one.attributes and one.get("type") != "application/json":
            yield f"{one}: a script in the page"
        for name, value in one.attributes.items():
            kind = None
            if name == "style":
                kind = "a style attribute"
            elif re.match(r"on\w|hx-on|data-hx-on", name):
                kind = f"the handler {name}"
            elif name == "srcdoc":
                kind = "a page in an attribute"
            elif CODE.match(value) and name != "value":
                kind = f"code in {name}"
            elif name == "hx-trigger" and "[" in value:
                kind = f"a condition in {name}"
            if kind:
                yield f"{one}: {kind}"


def nothing_from_elsewhere(page: Page) -> Iterator[str]:
    """Only the site itself is asked for anything. Links that a person follows may lead away."""
    for one in page.elements:
        for name, tags in LOADED.items():
            if name not in one.attributes or (tags and one.tag not in tags):
                continue
            value = one.attributes[name]
            candidates = [part.split()[0] for part in value.split(",") if part.split()] if name == "srcset" else [value]
            for address in candidates:
                if is_elsewhere(address):
                    yield f"{one}: {name} leads to {address}"
        if one.tag == "base":
            yield f"{one}: every address of the page would change its meaning"
        if one.tag == "meta" and one.get("http-equiv").lower() == "refresh":
            yield f"{one}: the page leaves by itself"


def is_elsewhere(address: str) -> bool:
    parts = urlsplit(address.strip().replace("\\", "/"))
    return bool(parts.netloc) or parts.scheme not in ("", "data")


# --- What a person with a screen reader needs ---


def one_h1(page: Page) -> Iterator[str]:
    if (count := len(page.find("h1"))) != 1:
        yield f"{count} elements h1"


def headings_in_order(page: Page) -> Iterator[str]:
    headings = page.find("h1", "h2", "h3", "h4", "h5", "h6")
    for before, after in pairwise(headings):
        if int(after.tag[1]) > int(before.tag[1]) + 1:
            yield f"{after} {after.text!r} follows {before.tag}"
    if headings and page.is_whole and headings[0].tag != "h1":
        yield f"{headings[0]} {headings[0].text!r} comes before h1"
    for one in headings:
        if not one.text:
            yield f"{one}: an empty heading"


def every_control_labelled(page: Page) -> Iterator[str]:
    labelled = {one.get("for") for one in page.find("label") if one.text}
    for one in page.find("input", "select", "textarea"):
        if one.get("type").lower() in UNLABELLED or any(
            "hidden" in each.attributes for each in (one, *one.ancestors())
        ):
            continue
        around = one.within("label")
        if not (one.get("id") in labelled - {""} or (around is not None and around.text) or _aria_name(one, page)):
            yield f"{one}: no label"
    for one in page.find("button", "a", "summary"):
        if one.tag == "a" and "href" not in one.attributes:
            continue
        if not (one.text or _aria_name(one, page) or one.get("title") or _title_of_picture(one)):
            yield f"{one}: no name"
    for one in page.find("input"):
        if one.get("type").lower() in ("submit", "button", "reset") and not (one.get("value") or _aria_name(one, page)):
            yield f"{one}: no name"


def _aria_name(one: Element, page: Page) -> str:
    named = [page.by_id[id].text for id in one.get("aria-labelledby").split() if id in page.by_id]
    return one.get("aria-label").strip() or " ".join(named).strip()


def _title_of_picture(one: Element) -> bool:
    return any(inner.tag == "title" and inner.text for inner in one.descendants())


def every_image_described_and_sized(page: Page) -> Iterator[str]:
    for one in page.find("img", "video"):
        if one.tag == "img" and "alt" not in one.attributes:
            yield f"{one}: no alt"
        if not (one.get("width").isdecimal() and one.get("height").isdecimal()):
            yield f"{one}: no size"
    for one in page.find("svg"):
        if all(isinstance(child, str) or child.tag in ("symbol", "defs") for child in one.children):
            continue  # draws nothing by itself
        named = one.get("aria-label") or one.get("aria-labelledby") or _title_of_picture(one)
        hidden = any(above.get("aria-hidden") == "true" for above in (one, *one.ancestors()))
        if not (hidden or (one.get("role") == "img" and named)):
            yield f"{one}: neither hidden nor named"


def unique_ids(page: Page) -> Iterator[str]:
    for id, count in Counter(one.attributes["id"] for one in page.elements if "id" in one.attributes).items():
        if count > 1:
            yield f"the id {id!r} stands {count} times"
        if not id or re.search(r"\s", id):
            yield f"{id!r} is no id"


def references_lead_somewhere(page: Page) -> Iterator[str]:
    for one in page.elements:
        for name in sorted(REFERENCES & one.attributes.keys()):
            for id in one.attributes[name].split():
                if id not in page.by_id:
                    yield f"{one}: {name} names {id!r}, which is not there"
        if one.tag == "a" and re.match("#.", href := one.get("href")) and href[1:] not in page.by_id:
            yield f"{one}: leads to {href}, which is not there"


def language_and_title(page: Page) -> Iterator[str]:
    html = page.find("html")
    if not html or not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", html[0].get("lang")):
        yield "the page does not say its language"
    titles = [one.text for one in page.find("title") if one.parent is not None and one.parent.tag == "head"]
    if len(titles) != 1 or not re.match(r"[^\s·|]", titles[0]):
        yield f"the title is {titles}"
    if len(page.find("main")) != 1:
        yield f"{len(page.find('main'))} elements main"


def every_tag_closed(page: Page) -> Iterator[str]:
    yield from page.unbalanced


# --- Forms ---


def forms_protected(page: Page) -> Iterator[str]:
    """What changes something carries the token; what only asks does not show it in an address."""
    for form in page.find("form"):
        has_token = _has_token(form)
        method = form.get("method").lower()
        if method == "post" and not has_token:
            yield f"{form}: no CSRF token"
        if method in ("", "get") and has_token:
            yield f"{form}: the CSRF token would stand in the address"
    for one in page.elements:
        if any(f"hx-{verb}" in one.attributes for verb in ("post", "put", "patch", "delete")):
            around = one if one.tag == "form" else one.within("form")
            named = page.by_id.get(one.get("hx-include").removeprefix("#"))
            if not any(form is not None and _has_token(form) for form in (around, named)):
                yield f"{one}: no CSRF token"


def _has_token(form: Element) -> bool:
    return any(one.get("name") == "csrfmiddlewaretoken" for one in form.descendants())


# --- Sizes ---


def small_html(page: Page) -> Iterator[str]:
    if (size := gzipped(page.html.encode())) > HTML_BYTES:
        yield f"{size} bytes of HTML, of {HTML_BYTES}"


def small_files(page: Page, fetch: Callable[[str], str]) -> Iterator[str]:
    """`fetch` returns what stands at an address of the site. Modules that scripts import are counted."""
    sheets = {one.get("href") for one in page.find("link") if "stylesheet" in one.get("rel").split()}
    if (size := sum(gzipped(fetch(address).encode()) for address in sheets)) > CSS_BYTES:
        yield f"{size} bytes of CSS, of {CSS_BYTES}: {sorted(sheets)}"
    scripts: dict[str, int] = {}
    wanted = [one.get("src") for one in page.find("script") if one.get("src")]
    wanted += [one.get("href") for one in page.find("link") if one.get("rel") == "modulepreload"]
    while wanted:
        address = wanted.pop()
        if address not in scripts:
            text = fetch(address)
            scripts[address] = gzipped(text.encode())
            found = re.findall(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)["']([./][^"']+)["']""", text)
            wanted += [urljoin(address, name) for name in found]
    if sum(scripts.values()) > JS_BYTES:
        yield f"{sum(scripts.values())} bytes of JavaScript, of {JS_BYTES}: {json.dumps(scripts)}"


PART_RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        nothing_inline,
        nothing_from_elsewhere,
        headings_in_order,
        every_control_labelled,
        every_image_described_and_sized,
        unique_ids,
        every_tag_closed,
        forms_protected,
        small_html,
    )
}
RULES: dict[str, Rule] = PART_RULES | {
    rule.__name__: rule for rule in (one_h1, language_and_title, references_lead_somewhere)
}


def faults(html: str) -> dict[str, list[str]]:
    """Rule -> what breaks it, for a whole page or for a part."""
    page = Page(html)
    rules = RULES if page.is_whole else PART_RULES
    return {name: found for name, rule in rules.items() if (found := list(rule(page)))}
