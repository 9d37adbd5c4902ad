"""What the page of models makes of a query: groups of filters, chips, and links that change one thing about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import QueryDict
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from common.money import display
from marketplace.models import Category, Price
from marketplace.search import BANDS, FACETS, MAX_TOTAL, Count, Facet, Found, Query

SORTS = {
    "relevance": gettext_lazy("Best match"),
    "popular": gettext_lazy("Most used"),
    "rating": gettext_lazy("Rating"),
    "newest": gettext_lazy("Newest"),
    "price": gettext_lazy("Price"),
    "latency": gettext_lazy("Latency"),
}
VIEWS = {"grid": gettext_lazy("Grid"), "table": gettext_lazy("Table")}
DEFAULTS = {"sort": "relevance", "view": "grid"}
FACET_LABELS: dict[Facet, Any] = {
    "category": gettext_lazy("Task"),
    "pricing": gettext_lazy("Price"),
    "capability": gettext_lazy("Supports"),
    "publisher": gettext_lazy("Publisher"),
}
OPEN_FACETS = ("category", "pricing", "capability")
SHORT_FACET = 8  # values of a facet that are shown at once


@dataclass(frozen=True, slots=True)
class Option:
    """A value of a facet as a checkbox or radio button. The id stays with the value, so that the focus does too."""

    id: str
    value: str
    label: str
    count: int | None
    is_chosen: bool


# --- Addresses --------------------------------------------------------------------------------------------------------


def clean(given: QueryDict) -> QueryDict:
    """Every value of a facet once, and nothing that says nothing: a field that was left empty, or what holds anyway."""
    kept = QueryDict(mutable=True)
    for name, texts in given.lists():
        values = [part for text in texts for part in (text.split(",") if name in FACETS else [text]) if part]
        if values and values != [DEFAULTS.get(name)]:
            kept.setlist(name, list(dict.fromkeys(values)) if name in FACETS else values)
    return kept


def changed(given: QueryDict, **values: str | None) -> QueryDict:
    """A copy with other values; None takes one away. Another list begins on its first page."""
    copy = given.copy()
    for name, value in {"cursor": None, **values}.items():
        if value is None or value == DEFAULTS.get(name):
            copy.pop(name, None)
        else:
            copy[name] = value
    return copy


def address(path: str, given: QueryDict) -> str:
    return f"{path}?{given.urlencode()}" if given else path


def only(given: QueryDict, *names: str) -> QueryDict:
    """A copy with these parameters alone."""
    kept = QueryDict(mutable=True)
    for name in names:
        if name in given:
            kept.setlist(name, given.getlist(name))
    return kept


def choices(path: str, given: QueryDict, name: str, labels: dict[str, Any]) -> list[dict[str, Any]]:
    """The links of a group of which one is on, for `components/choices.html`."""
    chosen = given.get(name, DEFAULTS[name])
    return [
        {
            "id": f"{name}-{value}",
            "label": label,
            "href": address(path, changed(given, **{name: value})),
            "current": value == chosen,
        }
        for value, label in labels.items()
    ]


def pages(path: str, given: QueryDict, found: Found) -> dict[str, Any]:
    """Where this page of the list stands and what surrounds it, for `components/pagination.html`."""
    previous, following = found.previous_cursor, found.next_cursor
    return {
        "first": number_format(found.before + 1, force_grouping=True) if found.before <= MAX_TOTAL else "",
        "last": number_format(found.before + len(found.ids), force_grouping=True),
        "total": total_words(found),
        "previous": "" if previous is None else address(path, changed(given, cursor=previous or None)),
        "next": address(path, changed(given, cursor=following)) if following else "",
    }


def total_words(found: Found) -> str:
    """How many were found: "131", or "more than 1,000" where counting stopped."""
    total = min(found.total or 0, MAX_TOTAL)
    words = str(number_format(total, force_grouping=True))
    return words if total == found.total else _("more than %(count)s") % {"count": words}


# --- Facets and chips -------------------------------------------------------------------------------------------------


def groups(query: Query, found: Found) -> list[dict[str, Any]]:
    """The groups of filters in their order."""
    *first, publishers = (_facet(facet, query, found) for facet in FACET_LABELS)
    return [*first, _ratings(query, found), _latencies(query, found), publishers]


def price_bands(path: str, given: QueryDict, found: Found) -> list[dict[str, Any]]:
    """Links to what costs at most so much, where some models do and others do not."""
    texts = {text: bound for bound, text in BANDS["price_max"]}
    return [
        {
            "label": _("Free") if texts[count.value] == 0 else display(texts[count.value], settings.CURRENCY),
            "href": address(path, changed(given, price_max=count.value)),
            "count": count.count,
        }
        for count in found.facets["price_max"]
        if count.count and count.value != given.get("price_max")
    ]


def _facet(facet: Facet, query: Query, found: Found) -> dict[str, Any]:
    """A group of filters. What is chosen stays, though nothing has it."""
    value = getattr(query, facet)
    chosen = [value] if isinstance(value, str) and value else list(value)
    counts = list(found.facets[facet])
    known = {count.value for count in counts}
    counts += [Count(value, 0) for value in chosen if value not in known]
    options = [
        Option(
            _option_id(facet, number, one.value), one.value, _label(facet, one.value), one.count, one.value in chosen
        )
        for number, one in enumerate(counts)
    ]
    return _group(facet, FACET_LABELS[facet], options, is_single=facet == "pricing")


def _ratings(query: Query, found: Found) -> dict[str, Any]:
    counts = {round(float(count.value) * 10): count.count for count in found.facets["min_rating"]}
    chosen = query.min_rating_tenths
    options = [
        Option(f"rating-{tenths}", f"{tenths / 10:g}", _rating_words(tenths), counts.get(tenths), tenths == chosen)
        for tenths in sorted({*counts, chosen} - {0}, reverse=True)
    ]
    return _group("min_rating", _("Rating"), options, is_single=True)


def _latencies(query: Query, found: Found) -> dict[str, Any]:
    counts = {int(count.value): count.count for count in found.facets["latency_max"]}
    chosen = query.latency_max_ms
    options = [
        Option(f"latency-{bound}", str(bound), _latency_words(bound), counts.get(bound), bound == chosen)
        for bound in sorted({*counts, chosen or 0} - {0})
    ]
    return _group("latency_max", _("Latency"), options, is_single=True)


def _group(name: str, label: str, options: list[Option], *, is_single: bool) -> dict[str, Any]:
    """Its first values, and the `rest` where there are so many that hiding them helps."""
    is_chosen = any(option.is_chosen for option in options)
    if is_single:
        options = [Option(f"{name}-any", "", _("Any"), None, not is_chosen), *options]
    shown = SHORT_FACET if len(options) > SHORT_FACET + 1 else len(options)
    return {
        "name": name,
        "label": label,
        "options": options[:shown],
        "rest": options[shown:],
        "shows_rest": any(option.is_chosen for option in options[shown:]),
        "is_open": name in OPEN_FACETS or is_chosen,
        "is_single": is_single,
    }


def _option_id(facet: str, number: int, value: str) -> str:
    """Values that nobody lists may be any text."""
    return f"{facet}-{value}" if re.fullmatch(r"[a-z0-9_-]+", value) else f"{facet}.{number}"


def _label(facet: Facet, value: str) -> str:
    match facet:
        case "category" if value in Category.values:
            return str(Category(value).label)
        case "pricing" if value in Price.Type.values:
            return str(Price.Type(value).label)
        case _:
            return value


def _rating_words(tenths: int) -> str:
    return _("%(rating)s or better") % {"rating": number_format(tenths / 10, 0 if tenths % 10 == 0 else 1)}


def _latency_words(bound_ms: int) -> str:
    return _("Up to %(latency)s ms") % {"latency": number_format(bound_ms, force_grouping=True)}


def chips(path: str, given: QueryDict, query: Query) -> Iterable[dict[str, Any]]:
    """What narrows the list, each with the address without it. `text`: it is the words, which stand elsewhere too."""

    def chip(label: str, name: str, value: str) -> dict[str, Any]:
        rest = changed(given)
        if left := [text for text in rest.getlist(name) if text != value]:
            rest.setlist(name, left)
        else:
            rest.pop(name, None)
        return {"label": label, "href": address(path, rest), "text": name == "q"}

    if query.text:
        yield chip(f"“{query.text}”", "q", given.get("q", ""))
    for facet in FACET_LABELS:
        for value in given.getlist(facet):
            yield chip(_label(facet, value), facet, value)
    if query.min_rating_tenths:
        label = _("Rated %(rating)s") % {"rating": _rating_words(query.min_rating_tenths)}
        yield chip(label, "min_rating", given.get("min_rating", ""))
    if query.latency_max_ms is not None:
        yield chip(_latency_words(query.latency_max_ms), "latency_max", given.get("latency_max", ""))
    if query.price_max_nano is not None:
        label = _("Up to %(price)s") % {"price": display(query.price_max_nano, settings.CURRENCY)}
        yield chip(label, "price_max", given.get("price_max", ""))
