"""What every page needs to write: icons, marks, figures, times, links that know where they are."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from html import unescape
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django import template
from django.conf import settings
from django.forms import BoundField
from django.template import Context
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from nh3 import clean
from pygments import highlight as pygments_highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from common import ids
from common import money as money_units
from config import charts, marks, snippets

register = template.Library()

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").enable("strikethrough")
# No images: they would be requests to other people's servers.
MARKDOWN_TAGS = {
    *("p", "br", "hr", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code"),
    *("em", "strong", "s", "a", "table", "thead", "tbody", "tr", "th", "td"),
}
SUMMARY_LENGTH = 240

# Drawn on 16 by 16, stroked with the colour of the text.
ICONS = {
    "search": '<circle cx="7" cy="7" r="4.5"/><path d="m10.5 10.5 3.5 3.5"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/>'
    '<path d="M10.5 5.5v-1A1.5 1.5 0 0 0 9 3H4a1.5 1.5 0 0 0-1.5 1.5V9.5A1.5 1.5 0 0 0 4 11h1.5"/>',
    "link": '<path d="M6.5 9.5 9.5 6.5M7 4.5 8.500 3a3 3 0 0 1 4.5 4.5L11.5 9"/>'
    '<path d="M4.500 7 3 8.500A3 3 0 0 0 7.500 13L9 11.500"/>',
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "key": '<circle cx="5" cy="11" r="2.5"/><path d="m7 9 6-6m-2 2 2 2m-4 0 1.5 1.5"/>',
    "chart": '<path d="M2.5 13.5h11M4.5 11V7.5M8 11V3.5M11.5 11V5.5"/>',
    "play": '<path d="M5 3.5v9l7-4.5z"/>',
    "down": '<path d="M8 3v8m-3-3 3 3 3-3M3 13.5h10"/>',
    "more": '<circle cx="3.5" cy="8" r=".8"/><circle cx="8" cy="8" r=".8"/><circle cx="12.5" cy="8" r=".8"/>',
    "warn": '<path d="M8 2.5 14 13H2zM8 6.5v3M8 11.2v.1"/>',
    "info": '<circle cx="8" cy="8" r="5.5"/><path d="M8 7.5v3M8 5.200v.1"/>',
    "check": '<path d="m3.5 8.5 3 3 6-7"/>',
    "cross": '<path d="m4 4 8 8m0-8-8 8"/>',
    "star": '<path d="m8 2 1.8 3.8 4.2.5-3.100 2.900.8 4.100L8 11.3 4.300 13.300l.8-4.100L2 6.300l4.2-.5z"/>',
    "menu": '<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>',
    "chevron": '<path d="m5 6.5 3 3 3-3"/>',
    "sun": '<circle cx="8" cy="8" r="2.8"/>'
    '<path d="M8 1.5v1.5m0 10v1.5M1.5 8H3m10 0h1.5M3.4 3.4l1 1m7.2 7.2 1 1m0-9.2-1 1m-7.2 7.2-1 1"/>',
    "moon": '<path d="M13 9.8A5.5 5.5 0 0 1 6.200 3a5.5 5.5 0 1 0 6.8 6.8z"/>',
    "auto": '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor"/>',
}


@register.simple_tag
def icon(name: str) -> SafeString:
    """A 16 px icon, hidden from readers: give the control its own words."""
    return format_html(
        '<svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.4"'
        ' stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>',
        mark_safe(ICONS[name]),
    )


@register.simple_tag
def tile(slug: str, size: str = "", logo: UUID | None = None) -> SafeString:
    """The mark of a listing: its logo, or one made of its slug. `size` is "" (40 px) or "lg" (56 px)."""
    if logo:
        pixels, large = (56, " lg") if size == "lg" else (40, "")
        source = reverse("media", args=[logo, "128.webp"])
        return format_html('<img class="tile{}" src="{}" width="{}" height="{}" alt="">', large, source, pixels, pixels)
    return marks.tile(slug, large=size == "lg")


@register.simple_tag
def meter_bar(used: int, limit: int) -> SafeString:
    """The bar alone; use `components/meter.html`, which sets the words under it."""
    return marks.meter(used, limit)


@register.simple_tag
def strip(days: Sequence[str], label: str) -> SafeString:
    """Availability by day: "ok", "warn", "bad" or "none", oldest first; `label` is the sentence for readers."""
    return marks.strip(days, label)


@register.simple_tag
def spark(values: Sequence[float | None], label: str = "") -> SafeString:
    """A small line beside its figure; `label` says for readers what it shows, such as "from 3 to 12 a day"."""
    return marks.spark(values, label)


@register.inclusion_tag("components/chart.html")
def chart(
    title: str,
    labels: Sequence[str],
    series: Sequence[charts.Series],
    sentence: str,
    unit: str = "",
    kind: str = "bars",
    choices: Sequence[dict[str, Any]] | None = None,
    csv: str = "",
    by: str = "",
) -> dict[str, Any]:
    """A chart with a legend and the same data as a table. A page that has one loads js/charts.js.

    `series` is (name, one value per label), at most six; a value of None is a gap. `sentence` says for readers what
    the picture shows. `unit` is a currency's sign, or what follows a figure (" ms", "%"). `kind` is "bars" (stacked),
    "lines" or "hist", whose labels are the edges of its buckets and so one more than the values.
    `choices` (label, href, current) stand in the head; `csv` is the address of the same data.
    `by` names the labels where they are no times.
    """
    rows = zip(
        charts.between(labels) if kind == "hist" else labels,
        zip(*([charts.figure(value, unit) for value in values] for _name, values in series), strict=True),
        strict=False,
    )
    measured = any(value is not None for _name, values in series for value in values)
    return {
        "title": title,
        "kind": kind,
        "names": [name for name, _values in series],
        "picture": charts.PICTURES[kind](series, labels, label=sentence, unit=unit) if measured else "",
        "too_few": kind == "lines" and bool(series and labels),
        "rows": list(rows),
        "choices": choices,
        "csv": csv,
        "by": by,
    }


@register.simple_tag
def star_row(rating: float | Decimal) -> SafeString:
    """Five stars, filled up to the rounded rating; use `components/stars.html`, which writes the figure too."""
    full = round(rating)
    shape = '<svg viewBox="0 0 16 16" fill="{}" stroke="currentColor" stroke-width="1.2" aria-hidden="true">{}</svg>'
    return mark_safe("".join(shape.format("currentColor" if i < full else "none", ICONS["star"]) for i in range(5)))


@register.simple_tag(takes_context=True)
def nav_link(context: Context, label: str, *names: str) -> SafeString:
    """A link to the first of `names` that is mounted, marked as current on any of them; nothing if none is mounted.

    A name with a star ("key*") stands for every page whose name fits, and is no address itself.
    """
    for name in names:
        try:
            href = reverse(name)
        except NoReverseMatch:
            continue
        match = getattr(context.get("request"), "resolver_match", None)
        here = match is not None and any(fnmatchcase(match.view_name, one) for one in names)
        return format_html(
            '<a href="{}"{}>{}</a>',
            href,
            mark_safe(' aria-current="page"') if here else "",
            label,
        )
    return SafeString("")


@register.simple_tag
def control(field: BoundField) -> SafeString:
    """The widget of a field, without a placeholder that only repeats its label."""
    placeholder = str(field.field.widget.attrs.get("placeholder", "")).casefold()
    label = str(field.label).casefold()
    repeats = placeholder and (placeholder in label or label in placeholder)
    return field.as_widget(attrs={"placeholder": False} if repeats else None)


@register.filter
def money(nano: int | None, currency: str = "") -> str:
    """Nano-units as "$0.40"; the instance's currency unless one is given. None is "" (nothing to show)."""
    return "" if nano is None else money_units.display(nano, currency or settings.CURRENCY)


@register.filter
def count(value: int | None) -> str:
    """A whole number with separators: 178,415."""
    return "" if value is None else str(formats.number_format(value, force_grouping=True, use_l10n=True))


@register.filter
def compact(value: int | None) -> str:
    """A large number in three or four characters: 950, 38.4k, 1.2M, 3.0B."""
    if value is None:
        return ""
    for size, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(value) * 100_000 >= size * 99_995:
            return f"{formats.number_format(round(Decimal(value) / size, 1), 1, use_l10n=True)}{suffix}"
    return count(value)


@register.filter
def milliseconds(value: int | None) -> str:
    """A duration: "412 ms", from a second on "1.42 s"; None is "–" (not measured)."""
    if value is None:
        return "–"
    if value < 1000:
        return f"{value}\N{NO-BREAK SPACE}ms"
    return f"{formats.number_format(round(Decimal(value) / 1000, 2), 2, use_l10n=True)}\N{NO-BREAK SPACE}s"


@register.filter
def percent(part: int, whole: int) -> str:
    """`part` of `whole` with two decimals, "0.09%"; "–" when there is no whole."""
    if not whole:
        return "–"
    return f"{formats.number_format(round(Decimal(part) * 100 / whole, 2), 2, use_l10n=True)}%"


@register.filter
def when(value: datetime | None) -> str:
    """An instant for people: relative within a day, else "12 Oct 2026, 14:02", always in the title. None is "never"."""
    if value is None:
        return _("never")
    local = timezone.localtime(value)
    full = formats.date_format(local, "j M Y, H:i")
    distance = timezone.now() - value
    if timedelta() <= distance < timedelta(minutes=1):
        words = _("just now")
    elif timedelta() <= distance < timedelta(days=1):
        words = _("%(time)s ago") % {"time": timesince(value, depth=1)}
    else:
        words = full
    return format_html(
        '<time datetime="{}" title="{} {}">{}</time>',
        value.isoformat(),
        full,
        local.tzname(),
        words,
    )


@register.filter
def typeid(value: UUID, prefix: str) -> str:
    """A row's id as people and programs see it: `{{ key.id|typeid:"key" }}` is key_01j…"""
    return ids.encode(prefix, value)


@register.filter
def highlight(source: str, language: str) -> SafeString:
    """Source with Pygments' short classes, to stand in `.code pre`. `language` is a Pygments name: "python", "bash"."""
    markup = pygments_highlight(source.strip("\n"), get_lexer_by_name(language), HtmlFormatter(nowrap=True))
    return mark_safe(markup.rstrip("\n"))


@register.filter
def markdown(source: str, under: int = 1) -> SafeString:
    """People's Markdown as HTML for `.prose`: no raw HTML, no images.

    Whatever levels its headings have, they begin below the heading that it stands under, and none is left out.
    """
    tokens = MARKDOWN.parse(source)
    levels = sorted({token.tag for token in tokens if token.type == "heading_open"})
    level = under
    for token in tokens:
        if token.type == "heading_open":
            level = min(under + 1 + levels.index(token.tag), level + 1, 6)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{level}"
    html = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    allowed = {"a": {"href"}, "code": {"class"}, "ol": {"start"}}
    return mark_safe(clean(html, tags=MARKDOWN_TAGS, attributes=allowed, url_schemes={"http", "https", "mailto"}))


@register.filter
def summary(source: str) -> str:
    """The words of the first paragraph of a Markdown text, for cards and lists."""
    html = MARKDOWN.render(source[:2000])
    first = re.search(r"<p>(.*?)</p>", html, re.DOTALL)
    text = " ".join(unescape(clean(first[1] if first else html, tags=set())).split())
    return text if len(text) <= SUMMARY_LENGTH else text[:SUMMARY_LENGTH].rpartition(" ")[0] + "…"


@register.simple_tag
def call_tabs(slug: str, category: str, example: Any = None) -> list[snippets.Tab]:
    """Tabs for `components/code.html`: how to call the model "publisher/name", with this instance's address."""
    return snippets.call_tabs(settings.SITE_URL, slug, category, example)


@register.simple_tag
def request_tabs(path: str, body: Any) -> list[snippets.Tab]:
    """Tabs for `components/code.html`: exactly this request."""
    return snippets.request_tabs(settings.SITE_URL, path, body)


@register.simple_tag
def key_tabs(secret: str) -> list[snippets.Tab]:
    """Tabs for `components/secret.html`: the lines that put a new key to use."""
    return snippets.key_tabs(settings.SITE_URL, secret)


@register.filter
def marked(text: str, words: str) -> SafeString:
    """The text with what begins like one of `words` in `<mark>`."""
    found = "|".join(sorted(map(re.escape, re.findall(r"[^\W_]+", words)), key=len, reverse=True))
    if not found:
        return format_html("{}", text)
    parts = re.split(rf"\b({found})", text, flags=re.IGNORECASE)  # every other one is a word
    marks = [format_html("<mark>{}</mark>", word) for word in parts[1::2]]
    return format_html_join("", "{}{}", zip(parts[::2], [*marks, ""], strict=True))


@register.filter
def path_words(path: str) -> str:
    """What someone looked for, from the path they came with: "/models/acme/aurora-70b" is "aurora 70b"."""
    last = unquote(path).rstrip("/").rpartition("/")[2]
    return " ".join("".join(c if c.isalnum() else " " for c in last).split())[:80]
