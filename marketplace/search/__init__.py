"""Searching the catalogue: what is asked, what is found, and what an engine must be able to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

Sort = Literal["relevance", "rating", "popular", "newest", "price", "latency"]
Facet = Literal["category", "capability", "pricing", "publisher"]

SORTS: tuple[Sort, ...] = ("relevance", "rating", "popular", "newest", "price", "latency")
FACETS: tuple[Facet, ...] = ("category", "capability", "pricing", "publisher")
MAX_TEXT_LENGTH = 200
MAX_WORDS = 8
MAX_WORD_LENGTH = 40

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What somebody looks for. Values of one facet widen the search, except capabilities: a model must have them all.

    price_max_nano: no rate of the model, and not its amount, is above it. own_slug: the publisher whose unpublished
    models are shown too, where `publisher` names it.
    """

    text: str = ""
    category: Sequence[str] = ()
    capability: Sequence[str] = ()
    pricing: str = ""
    publisher: Sequence[str] = ()
    min_rating_tenths: int = 0
    price_max_nano: int | None = None
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
    """One page of ids in order. `corrected` is what was searched instead, if the words as typed found nothing."""

    ids: list[UUID]
    next_cursor: str | None
    corrected: str = ""
    facets: dict[Facet, list[Count]] = field(default_factory=dict)
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
    """The engine of this site."""
    from marketplace.search.postgres import PostgresSearch

    return PostgresSearch()
