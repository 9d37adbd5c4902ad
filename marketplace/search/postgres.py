"""Search by PostgreSQL: weighted full text, the last word as a prefix, typing errors corrected by the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchRank
from django.db import connection
from django.db.models import BigIntegerField, Case, Count, F, FloatField, Func, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest, Ln

from common.pagination import page_before, paginate
from marketplace.models import AIModel, Price
from marketplace.querysets import PUBLIC_STATUSES, AIModelQuerySet
from marketplace.search import FACETS, MAX_TOTAL, Facet, Found, Query
from marketplace.search import Count as FacetCount

WEIGHTS = [0.1, 0.2, 0.4, 1.0]  # D description, C capabilities, B publisher and task, A name
SIMILAR_ENOUGH = 0.5
RATING_PRIOR_SUM, RATING_PRIOR_COUNT = 35, 10  # a model without reviews ranks like one with 3.5
MAX_FACET_VALUES = 50

ORDERS = {
    "rating": ["-bayesian_rating", "-id"],
    "popular": ["-popularity", "-id"],
    "newest": ["-published_at", "-id"],
    "latency": ["latency_order", "-id"],  # what is not measured comes last
    "price": ["top_price_nano", "-id"],
}
BROWSE = ["-is_callable", "-popularity", "-id"]


@dataclass(frozen=True, slots=True)
class Text:
    """The words as the index understands them. `similar`: nothing fits them, so names that look like them are shown."""

    tsquery: str = ""
    corrected: str = ""
    similar: str = ""


class PostgresSearch:
    def find(
        self, query: Query, *, limit: int, cursor: str | None = None, facets: bool = False, total: bool = False
    ) -> Found:
        text = understand(query.words)
        models = matching(query, text)
        order = order_of(query, text)
        rows = ordered(models, query, text).values("id", *(name.removeprefix("-") for name in order if name != "-id"))
        page = paginate(
            rows, order=order, limit=limit, cursor=cursor, serialize=lambda rows: [row["id"] for row in rows]
        )
        before, previous = 0, None
        if total and cursor:
            before, previous = page_before(rows, order=order, limit=limit, cursor=cursor, at_most=MAX_TOTAL + 1)
        return Found(
            ids=list(page["data"]),
            next_cursor=page["next_cursor"],
            corrected=text.corrected,
            facets={facet: count_facet(query, text, facet) for facet in FACETS} if facets else {},
            total=models.order_by()[: MAX_TOTAL + 1].count() if total else None,
            before=before,
            previous_cursor=previous,
        )

    def nearest(self, text: str, *, limit: int) -> list[UUID]:
        query = Query(text=text)
        tsquery = _any_of(_correct(query.words)) if query.words else ""
        if not tsquery:
            return []
        near = Text(tsquery=tsquery)
        models = matching(query, near).annotate(relevance=relevance(query, near))
        return list(models.order_by("-relevance", "-id").values_list("id", flat=True)[:limit])


# --- Words ------------------------------------------------------------------------------------------------------------


def understand(words: list[str]) -> Text:
    """The words as typed if any public model has them all, else corrected ones, else words to compare names with."""
    if not words:
        return Text()
    tsquery, has_hits = _ask(words)
    if has_hits or not tsquery:
        return Text(tsquery=tsquery)
    corrected = _correct(words)
    if corrected != words:
        tsquery, has_hits = _ask(corrected)
        if has_hits:
            return Text(tsquery=tsquery, corrected=" ".join(corrected))
    return Text(similar=" ".join(words))


def _ask(words: list[str]) -> tuple[str, bool]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(q.query::text, ''), EXISTS (SELECT FROM marketplace_aimodel m"
            " WHERE m.search_vector @@ q.query AND m.status = ANY(%s))"
            " FROM (SELECT marketplace_search_query(%s) AS query) q",
            [list(PUBLIC_STATUSES), words],
        )
        tsquery, has_hits = cursor.fetchone()
        return tsquery, has_hits


def _any_of(words: list[str]) -> str:
    """The query that any of the words answers, each as a beginning."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(string_agg('(' || q.query || ')', ' | '), '')"
            " FROM unnest(%s::text[]) word, LATERAL (SELECT marketplace_search_query(ARRAY[word])::text) q(query)",
            [words],
        )
        return str(cursor.fetchone()[0])


def _correct(words: list[str]) -> list[str]:
    """Each word that no listing has, the last one as a prefix too, replaced by the most similar one that some have."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN k.known THEN w.word ELSE coalesce(n.word, w.word) END"
            "  FROM (SELECT unaccent(word) AS word, n FROM unnest(%s::text[]) WITH ORDINALITY x(word, n)) w"
            " CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM marketplace_searchword s WHERE s.word = w.word"
            "   OR (w.n = %s AND s.word LIKE w.word || '%%')) AS known) k"
            "  LEFT JOIN LATERAL (SELECT s.word FROM marketplace_searchword s WHERE s.word %% w.word"
            "   ORDER BY similarity(s.word, w.word) DESC, s.word LIMIT 1) n ON NOT k.known"
            " ORDER BY w.n",
            [words, len(words)],
        )
        return [word for (word,) in cursor.fetchall()]


# --- Filters ----------------------------------------------------------------------------------------------------------


def matching(query: Query, text: Text, *, without: Facet | None = None) -> AIModelQuerySet:
    """The models that fit, `without` the filter of one facet."""
    models = AIModel.objects.filter(visible(query))
    if text.tsquery:
        models = models.filter(search_vector=SearchQuery(text.tsquery, search_type="raw", config="simple"))
    elif text.similar:
        models = models.filter(name__trigram_word_similar=text.similar)
    if query.category and without != "category":
        models = models.filter(category__in=query.category)
    if query.capability and without != "capability":
        models = models.filter(capabilities__contains=list(query.capability))
    if query.publisher and without != "publisher":
        models = models.filter(publisher__slug__in=query.publisher)
    if query.pricing and without != "pricing":
        models = models.alias(price_type=price_in_force("type")).filter(price_type=query.pricing)
    if query.min_rating_tenths:
        models = models.filter(rating_count__gt=0, rating_sum__gte=F("rating_count") * query.min_rating_tenths / 10.0)
    if query.price_max_nano is not None:
        models = models.alias(top_price_nano=top_price()).filter(top_price_nano__lte=query.price_max_nano)
    return models


def visible(query: Query) -> Q:
    public = Q(status__in=PUBLIC_STATUSES)
    return public | Q(publisher__slug=query.own_slug) if query.own_slug in query.publisher else public


def price_in_force(value: Any) -> Subquery:
    return Subquery(Price.objects.in_force().filter(ai_model=OuterRef("pk")).values_list(value)[:1])


def top_price() -> Subquery:
    """The highest figure on the price tag: an amount or a rate, whatever its unit; 0 for free models."""
    figures = ("amount_nano", "per_call_nano", "input_nano_per_million", "output_nano_per_million")
    return price_in_force(Greatest(*(Coalesce(F(name), 0) for name in figures), output_field=BigIntegerField()))


# --- Order ------------------------------------------------------------------------------------------------------------


def order_of(query: Query, text: Text) -> list[str]:
    if query.sort == "relevance":
        return ["-relevance", "-id"] if text.tsquery or text.similar else BROWSE
    return ORDERS[query.sort]


def ordered(models: AIModelQuerySet, query: Query, text: Text) -> AIModelQuerySet:
    """With the annotation that the order asks for."""
    match order_of(query, text)[0]:
        case "-relevance":
            return models.annotate(relevance=relevance(query, text))
        case "-bayesian_rating":
            mean = (F("rating_sum") + float(RATING_PRIOR_SUM)) / (F("rating_count") + float(RATING_PRIOR_COUNT))
            return models.annotate(bayesian_rating=mean)
        case "top_price_nano":
            return models.annotate(top_price_nano=top_price())
    return models


def relevance(query: Query, text: Text) -> Any:
    """How well the words fit, and a little more for what is used and callable; a name that is the query comes first."""
    words = text.corrected.split() if text.corrected else query.words
    if text.tsquery:
        search = SearchQuery(text.tsquery, search_type="raw", config="simple")
        fit: Any = SearchRank(F("search_vector"), search, weights=WEIGHTS, normalization=1)
    else:
        fit = Func(Value(text.similar), F("name"), function="word_similarity", output_field=FloatField())
    is_named = Q(slug="-".join(words)) | Q(name__iexact=" ".join(words))
    return fit * (1.0 + Ln(1.0 + F("popularity"), output_field=FloatField()) / 10.0) * Case(
        When(is_callable=True, then=1.0), default=0.7
    ) + Case(When(is_named, then=10.0), default=0.0)


# --- Facets -----------------------------------------------------------------------------------------------------------


def count_facet(query: Query, text: Text, facet: Facet) -> list[FacetCount]:
    """The values of a facet among the models that fit all other filters, the most frequent first."""
    models = matching(replace(query, own_slug=""), text, without=facet).order_by()
    match facet:
        case "category":
            models = models.annotate(facet=F("category"))
        case "capability":
            models = models.annotate(facet=Func(F("capabilities"), function="unnest"))
        case "publisher":
            models = models.annotate(facet=F("publisher__slug"))
        case "pricing":
            models = models.annotate(facet=price_in_force("type"))
    rows = models.values("facet").annotate(models=Count("id")).order_by("-models", "facet")[:MAX_FACET_VALUES]
    return [FacetCount(row["facet"], row["models"]) for row in rows if row["facet"]]
