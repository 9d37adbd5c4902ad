"""What a real browser finds wrong with a page: complaints, strangers, things that stick out or jump, barriers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SCHEMES = ("light", "dark")
WIDTHS = (1280, 768, 320)
HEIGHT = 900
SHIFT = 0.01  # of the window, of everything that moves while the page loads
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
    "preload": False,
}
#: What of it a theme decides: all the rest is the same in both.
AXE_OF_A_THEME = AXE | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
# Runs before anything of the page. Playwright brings it in past the page's content security policy.
WATCH = """
window.watched = { violations: [], shift: 0, moved: [] };
document.addEventListener("securitypolicyviolation", (event) => {
  watched.violations.push(`${event.effectiveDirective} stopped ${event.blockedURI} ${event.sample}`);
});
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    watched.shift += entry.value;
    for (const { node } of entry.sources) {
      watched.moved.push(node?.outerHTML?.slice(0, 80) ?? node?.textContent?.trim().slice(0, 40));
    }
  }
}).observe({ type: "layout-shift", buffered: true });
"""
SETTLE = """
async () => {
  await document.fonts.ready;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return watched;
}
"""
FILL = """
(fields) => {
  const form = [...document.forms].find((one) => Object.keys(fields).every((name) => one.elements[name]));
  for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
  form.submit();
}
"""


class Watch:
    """Collects what a page complains of from now on, and whom else it asks."""

    def __init__(self, page: Any, url: str) -> None:
        self.turn_to(url)
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("request", self.see_request)
        page.on("response", self.see_response)
        page.on("requestfailed", self.see_failure)

    def turn_to(self, url: str) -> None:
        """Forget what was before, and expect pages of this site."""
        self.faults: list[str] = []
        self.host = urlsplit(url).netloc
        self.answers: dict[str, int] = {}

    def hear(self, message: Any) -> None:
        asked = message.location.get("url", "")
        if self.answers.get(asked, 200) >= 400 and "Failed to load resource" in message.text:
            return  # Chromium says so of every page that is not 200, also of one that should be a 404
        self.faults.append(f"console: {message.type}: {message.text}")

    def see_request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob", "about") and address.netloc != self.host:
            self.faults.append(f"asks somebody else: {request.url}")

    def see_response(self, response: Any) -> None:
        if response.request.is_navigation_request():
            self.answers[response.url] = response.status
        elif response.status >= 400:
            self.faults.append(f"answered with {response.status}: {response.url}")

    def see_failure(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page that asked was left meanwhile
            self.faults.append(f"failed: {request.url}: {request.failure}")


def new_context(browser: Any, scheme: str, **options: Any) -> Any:
    """Without animations: a colour is looked at when it has arrived."""
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", **options)
    context.set_default_timeout(20_000)
    context.add_init_script(WATCH)
    return context


def visit(page: Any, url: str, fields: dict[str, str] | None = None) -> int:
    """Go there, and send the form if there are fields. Returns the status."""
    answer = page.goto(url)
    if fields:
        with page.expect_navigation() as going:
            page.evaluate(FILL, fields)
        answer = going.value
    return answer.status


def faults(page: Any, watch: Watch, widths: tuple[int, ...] = WIDTHS, *, axe: dict[str, Any] = AXE) -> Iterator[str]:
    """Of the page that is shown at the first width. The barriers are looked for at the first and the last."""
    watched = page.evaluate(SETTLE)
    yield from (f"content security policy: {one}" for one in watched["violations"])
    if watched["shift"] >= SHIFT:
        yield f"jumps while it loads, by {watched['shift']:.3f} at {widths[0]} px: {watched['moved']}"
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        if out := page.evaluate(STICKING_OUT):
            yield f"scrolls sideways at {width} px: {out}"
        if width in (widths[0], widths[-1]):
            yield from (f"{one} at {width} px" for one in barriers(page, axe))
    yield from watch.faults


STICKING_OUT = """
() => {
  const room = document.documentElement.clientWidth;
  const wide = Math.max(document.documentElement.scrollWidth, document.body?.scrollWidth ?? 0);
  if (wide <= room) return null;
  const out = [...document.querySelectorAll("body *")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width && (box.right > room + 1 || box.left < -1);
  });
  return [`${wide} > ${room}`, ...out.slice(0, 4).map((one) => one.outerHTML.slice(0, 100))];
}
"""
RUN_AXE = """
async (options) => {
  const { violations } = await axe.run(document, options);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => {
    const data = node.any[0]?.data;
    const colours = data?.contrastRatio ? ` ${data.fgColor} on ${data.bgColor} is ${data.contrastRatio}` : "";
    return `axe ${id}: ${node.target.join(" ")} ${node.html.slice(0, 120)}${colours}`;
  }));
}
"""


def barriers(page: Any, axe: dict[str, Any] = AXE) -> list[str]:
    """What axe finds."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    return page.evaluate(RUN_AXE, axe)
