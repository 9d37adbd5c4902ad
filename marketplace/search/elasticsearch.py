"""Search by Elasticsearch, for queries with words. What has none is an order of the table, which PostgreSQL reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.core import signing
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.dsl.connections import connections

from common.pagination import bad_cursor
from marketplace.documents import ListingDocument
from marketplace.models import AIModel
from marketplace.search import BANDS, FACETS, MAX_TOTAL, Band, Count, Facet, Found, Query, words
from marketplace.search.facets import MAX_FACET_VALUES
from marketplace.search.postgres import MIN_CORRECTED, PostgresSearch

TIMEOUT_SECONDS = 2
AWAY_SECONDS = 5.0  # so long nobody asks a server again that did not answer
MAX_WINDOW = 10_000  # a page ends before: the server's own limit
SALT = "marketplace.search.elasticsearch"

FIELDS = ["name^10", "slug_words^10", "publisher_words^4", "category_words^4", "capability_words^2", "description"]
TERMS: dict[Facet, str] = {
    "category": "category",
    "capability": "capabilities",
    "pricing": "price_type",
    "publisher": "publisher",
}
RANGES: dict[Band, tuple[str, str]] = {
    "price_max": ("price_order", "lte"),
    "min_rating": ("rating_tenths", "gte"),
    "latency_max": ("latency_order", "lte"),
}
ORDERS: dict[str, list[dict[str, str]]] = {
    "relevance": [{"_score": "desc"}, {"id": "desc"}],
    "rating": [{"rating_order": "desc"}, {"id": "desc"}],
    "popular": [{"demand": "desc"}, {"id": "desc"}],
    "newest": [{"published_at": "desc"}, {"id": "desc"}],
    "latency": [{"latency_order": "asc"}, {"id": "desc"}],
    "price": [{"price_order": "asc"}, {"id": "desc"}],
}

logger = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
Body = dict[str, Any]


def client() -> Elasticsearch:
    found: Elasticsearch = connections.get_connection()
    return found.options(request_timeout=TIMEOUT_SECONDS, max_retries=0)


class ElasticSearch:
    """The engine itself; raises ApiError and TransportError where the server is away or has no index."""

    def find(
        self, query: Query, *, limit: int, cursor: str | None = None, facets: bool = False, total: bool = False
    ) -> Found:
        start = _opened(cursor, query) if cursor else 0
        corrected, partly, answer = self._ask(query, start=start, limit=limit, facets=facets, total=total)
        hits = answer["hits"]["hits"]
        ids = [UUID(hit["_id"]) for hit in hits[:limit]]
        following = start + limit
        more = len(hits) > limit and following + limit < MAX_WINDOW
        previous = None
        if total and start:
            previous = _sealed(start - limit, query) if start > limit else ""
        return Found(
            ids=_still_public(ids),
            next_cursor=_sealed(following, query) if more else None,
            corrected=corrected,
            partly=partly,
            facets=_counts(answer["aggregations"]) if facets else {},
            total=min(answer["hits"]["total"]["value"], MAX_TOTAL + 1) if total else None,
            before=start,
            previous_cursor=previous,
        )

    def nearest(self, text: str, *, limit: int) -> list[UUID]:
        asked = Query(text=text).words
        if not asked:
            return []
        known, meant = _correct(asked)
        said = [meant.get(word, word) for word in asked if word in known or word in meant]
        if not said:
            return []
        hits = _search(query=_scored(_some(said), said), size=limit, source=False)["hits"]["hits"]
        return _still_public([UUID(hit["_id"]) for hit in hits])

    def _ask(self, query: Query, *, start: int, limit: int, facets: bool, total: bool) -> tuple[str, bool, Body]:
        """All words; else corrected ones; else any of them, if all are known; else names that look alike."""

        def ask(must: Body, said: list[str]) -> Body:
            filters = _filters(query)
            body: Body = {"query": _scored(must, said), "from_": start, "size": limit + 1, "sort": ORDERS[query.sort]}
            if facets:
                body |= {"post_filter": _all(filters), "aggs": _aggregations(filters)}
            else:
                body["query"] = {"bool": {"must": body["query"], "filter": list(filters.values())}}
            return _search(**body, track_total_hits=MAX_TOTAL + 1 if total or facets else False, source=False)

        asked = query.words
        answer = ask(_all_of(asked), asked)
        if answer["hits"]["hits"] or _has_any(_all_of(asked)):
            return "", False, answer
        known, meant = _correct(asked)
        corrected = [meant.get(word, word) for word in asked]
        said = " ".join(corrected) if corrected != asked else ""
        if said and _has_any(_all_of(corrected)):
            return said, False, ask(_all_of(corrected), corrected)
        if len(words.terms_of(corrected)) > 1 and all(word in known or word in meant for word in asked):
            return said, True, ask(_some(corrected), corrected)
        return "", False, ask(_alike(asked), asked)


class WithFallback:
    """Elasticsearch for what has words and is public; PostgreSQL for all else, and for all while the other is away."""

    def __init__(self) -> None:
        self._first, self._second = ElasticSearch(), PostgresSearch()
        self._away_until = 0.0

    def find(
        self, query: Query, *, limit: int, cursor: str | None = None, facets: bool = False, total: bool = False
    ) -> Found:
        asked: Body = {"limit": limit, "cursor": cursor, "facets": facets, "total": total}
        is_own = bool(query.own_slug) and query.own_slug in query.publisher  # drafts are in no index
        if not query.words or is_own:
            return self._second.find(query, **asked)
        return self._either(lambda: self._first.find(query, **asked), lambda: self._second.find(query, **asked))

    def nearest(self, text: str, *, limit: int) -> list[UUID]:
        return self._either(
            lambda: self._first.nearest(text, limit=limit), lambda: self._second.nearest(text, limit=limit)
        )

    def _either(self, first: Callable[[], Answer], second: Callable[[], Answer]) -> Answer:
        if time.monotonic() >= self._away_until:
            try:
                return first()
            except (TransportError, ApiError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                logger.warning("elasticsearch_away", error=f"{type(error).__name__}: {error}"[:300])
        return second()


# --- Questions --------------------------------------------------------------------------------------------------------


def _search(**body: Any) -> Body:
    answer: Body = client().search(index=ListingDocument.Index.name, **body).body
    return answer


def _has_any(must: Body) -> bool:
    return bool(_search(query=must, size=0, track_total_hits=1, terminate_after=1)["hits"]["total"]["value"])


def _all_of(said: list[str]) -> Body:
    """All words, by their stem or what means the same, or the last one as a beginning."""
    text = " ".join(said)
    return {
        "bool": {
            "should": [
                {"match": {"everything": {"query": text, "operator": "and"}}},
                {"bool": {"must": [*map(_word, said[:-1]), _beginning(said[-1])]}},
            ]
        }
    }


def _word(word: str) -> Body:
    return {"match": {"everything": {"query": word, "zero_terms_query": "all"}}}


def _beginning(word: str) -> Body:
    return {"match_bool_prefix": {"everything_plain": {"query": word}}}


def _some(said: list[str]) -> Body:
    """Any of them; each term that fits weighs more than all that is finer."""
    each: list[Body] = [
        {"constant_score": {"filter": {"match": {"everything": {"query": " ".join(term.words)}}}, "boost": 100}}
        for term in words.terms_of(said)
    ]
    return {"bool": {"should": each, "minimum_should_match": 1}}


def _alike(said: list[str]) -> Body:
    """Names with nearly these words."""
    return {"match": {"name.plain": {"query": " ".join(said), "operator": "and", "fuzziness": "AUTO"}}}


def _scored(must: Body, said: list[str]) -> Body:
    """How well the words fit, a little more for what is wanted and callable; a name that is the query comes first."""
    text = " ".join(said)
    fit = {
        "bool": {
            "must": must,
            "should": [
                {"multi_match": {"query": text, "fields": FIELDS, "type": "most_fields"}},
                {"multi_match": {"query": text, "fields": FIELDS, "type": "most_fields", "analyzer": "asked"}},
                {"match_bool_prefix": {"name.plain": {"query": text, "boost": 10}}},  # a word that is not whole yet
            ],
        }
    }
    wanted = {
        "function_score": {
            "query": fit,
            "functions": [
                {"weight": 1},
                {"field_value_factor": {"field": "demand", "modifier": "ln1p", "missing": 0}, "weight": 0.1},
            ],
            "score_mode": "sum",
            "boost_mode": "multiply",
        }
    }
    callable_first = {
        "function_score": {
            "query": wanted,
            "functions": [{"filter": {"term": {"is_callable": False}}, "weight": 0.7}],
            "boost_mode": "multiply",
        }
    }
    named = {"constant_score": {"filter": {"term": {"slug": "-".join(said)}}, "boost": 1_000}}
    return {"bool": {"must": callable_first, "should": [named]}}


def _correct(asked: list[str]) -> tuple[set[str], dict[str, str]]:
    """The words that some listing has, and what the others were meant to be, where that can be told."""
    filters = {
        str(place): _beginning(word) if place == len(asked) - 1 else _word(word) for place, word in enumerate(asked)
    }
    answer = _search(
        size=0,
        track_total_hits=False,
        aggs={"known": {"filters": {"filters": filters}}},
        suggest={
            "text": " ".join(asked),
            "meant": {
                "term": {
                    "field": "everything_plain",
                    "suggest_mode": "missing",
                    "string_distance": "damerau_levenshtein",
                    "min_word_length": MIN_CORRECTED,
                    "prefix_length": 0,
                    "size": 20,
                }
            },
        },
    )
    buckets = answer["aggregations"]["known"]["buckets"]
    known = {word for place, word in enumerate(asked) if buckets[str(place)]["doc_count"] or word in words.KNOWN}
    meant = {}
    for entry in answer["suggest"]["meant"]:
        word = entry["text"]
        if word not in known and len(word) >= MIN_CORRECTED:
            options = {option["text"] for option in entry["options"]}
            if (one := words.nearest(word, options | words.KNOWN)) is not None:
                meant[word] = one
    return known, meant


# --- Filters ----------------------------------------------------------------------------------------------------------


def _filters(query: Query) -> dict[Facet | Band, Body]:
    """What each filter that is set asks of a listing."""
    found: dict[Facet | Band, Body] = {}
    if query.category:
        found["category"] = {"terms": {"category": list(query.category)}}
    if query.capability:
        found["capability"] = {"bool": {"filter": [{"term": {"capabilities": name}} for name in query.capability]}}
    if query.publisher:
        found["publisher"] = {"terms": {"publisher": list(query.publisher)}}
    if query.pricing:
        found["pricing"] = {"term": {"price_type": query.pricing}}
    bounds: dict[Band, int | None] = {
        "price_max": query.price_max_nano,
        "min_rating": query.min_rating_tenths or None,
        "latency_max": query.latency_max_ms,
    }
    for band, bound in bounds.items():
        if bound is not None:
            found[band] = _range(band, bound)
    return found


def _range(band: Band, bound: int) -> Body:
    field, compares = RANGES[band]
    return {"range": {field: {compares: bound}}}


def _all(filters: dict[Facet | Band, Body], *, but: str = "") -> Body:
    return {"bool": {"filter": [one for name, one in filters.items() if name != but]}}


def _aggregations(filters: dict[Facet | Band, Body]) -> Body:
    """Each facet and band among what fits all other filters."""
    found: Body = {}
    for facet, field in TERMS.items():
        order = [{"_count": "desc"}, {"_key": "asc"}]
        terms = {"terms": {"field": field, "size": MAX_FACET_VALUES, "order": order}}
        found[facet] = {"filter": _all(filters, but=facet), "aggs": {"values": terms}}
    for band, bounds in BANDS.items():
        each = {text: _range(band, bound) for bound, text in bounds}
        found[band] = {"filter": _all(filters, but=band), "aggs": {"values": {"filters": {"filters": each}}}}
    return found


def _counts(answer: Body) -> dict[Facet | Band, list[Count]]:
    found: dict[Facet | Band, list[Count]] = {}
    for facet in FACETS:
        buckets = answer[facet]["values"]["buckets"]
        found[facet] = [Count(bucket["key"], bucket["doc_count"]) for bucket in buckets if bucket["key"]]
    for band, bounds in BANDS.items():
        values = answer[band]["values"]["buckets"]
        found[band] = [Count(text, values[text]["doc_count"]) for _bound, text in bounds]
    return found


# --- Pages ------------------------------------------------------------------------------------------------------------


def _still_public(ids: list[UUID]) -> list[UUID]:
    """The index is some seconds behind; what was withdrawn since is not shown."""
    public = set(AIModel.objects.published().filter(pk__in=ids).values_list("pk", flat=True))
    return [id for id in ids if id in public]


def _sealed(start: int, query: Query) -> str:
    return signing.dumps([query.sort, start], salt=SALT)


def _opened(cursor: str, query: Query) -> int:
    """Where the page begins. Raises InvalidParameter."""
    try:
        sort, start = signing.loads(cursor, salt=SALT)
    except (signing.BadSignature, ValueError):
        raise bad_cursor(
            "This cursor was not given out here. Take `next_cursor` from the last answer as it is."
        ) from None
    if sort != query.sort:
        raise bad_cursor("This cursor belongs to a list in another order. Begin again without it.")
    return int(start)
