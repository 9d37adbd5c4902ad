"""Searching the catalogue: what is asked, what is found, and what an engine must be able to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol
from uuid import UUID

from django.conf import settings

from common.money import NANO

Sort = Literal["relevance", "rating", "popular", "newest", "price", "latency"]
Facet = Literal["category", "capability", "pricing", "publisher"]
Band = Literal["price_max", "min_rating", "latency_max"]

SORTS: tuple[Sort, ...] = ("relevance", "rating", "popular", "newest", "price", "latency")
FACETS: tuple[Facet, ...] = ("category", "capability", "pricing", "publisher")
#: Bounds that are offered with how many models keep them, each with its text in an address: of a price in nano-units,
#: of a rating in tenths, of the measured median in milliseconds.
BANDS: dict[Band, tuple[tuple[int, str], ...]] = {
    "price_max": ((0, "0"), (NANO // 10, "0.1"), (NANO, "1"), (10 * NANO, "10"), (100 * NANO, "100")),
    "min_rating": ((45, "4.5"), (40, "4"), (30, "3")),
    "latency_max": ((200, "200"), (500, "500"), (1_000, "1000"), (3_000, "3000")),
}
MAX_TEXT_LENGTH = 200
MAX_WORDS = 8
MAX_WORD_LENGTH = 40

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What somebody looks for. Values of one facet widen the search, except capabilities: a model must have them all.

    price_max_nano: no rate of the model, and not its amount, is above it. latency_max_ms: of the measured median;
    what is not measured is not shown. own_slug: the publisher whose unpublished
    models are shown too, where `publisher` names it.
    """

    text: str = ""
    category: Sequence[str] = ()
    capability: Sequence[str] = ()
    pricing: str = ""
    publisher: Sequence[str] = ()
    min_rating_tenths: int = 0
    price_max_nano: int | None = None
    latency_max_ms: int | None = None
    sort: Sort = "relevance"
    own_slug: str = ""

    @property
    def words(self) -> list[str]:
        found = _WORD.findall(self.text[:MAX_TEXT_LENGTH])
        return [word[:MAX_WORD_LENGTH].lower() for word in found[:MAX_WORDS]]


@dataclass(frozen=True, slots=True)
class Count:
    """A value of a facet and how many models have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Found:
    """One page of ids in order.

    corrected: what was searched instead, if the words as typed found nothing. partly: no model has all the words, so
    those come that have some, the most first.
    """

    ids: list[UUID]
    next_cursor: str | None
    corrected: str = ""
    partly: bool = False
    facets: dict[Facet | Band, list[Count]] = field(default_factory=dict)
    # Only where the total was asked for. Neither counts further than MAX_TOTAL + 1.
    total: int | None = None
    before: int = 0  # models on the pages before this one
    previous_cursor: str | None = None  # "" for the first page, None on it


MAX_TOTAL = 1000


class Search(Protocol):
    """An engine."""

    def find(
        self, query: Query, *, limit: int, cursor: str | None = None, facets: bool = False, total: bool = False
    ) -> Found:
        """A page of models. Facets are counted without their own filter. Raises InvalidParameter for a bad cursor."""

    def nearest(self, text: str, *, limit: int) -> list[UUID]:
        """Public models that have any of the words or one that looks like it: for those whose search found nothing."""


def engine() -> Search:
    """The engine of this site: Elasticsearch where one is set, with PostgreSQL behind it; and what was found lately."""
    return _engine(bool(settings.ELASTICSEARCH_URL))


@cache
def _engine(is_elastic: bool) -> Search:
    from marketplace.search.kept import Kept

    if is_elastic:
        from marketplace.search.elasticsearch import WithFallback

        return Kept(WithFallback())
    from marketplace.search.postgres import PostgresSearch

    return Kept(PostgresSearch())
