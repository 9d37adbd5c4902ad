"""Search by PostgreSQL: weighted full text, the last word as a prefix, typing errors corrected by the vocabulary."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchRank
from django.core.cache import cache
from django.db import connection
from django.db.models import Case, F, FloatField, Func, Q, Value, When
from django.db.models.functions import Ln

from common.pagination import page_before, paginate
from marketplace.models import AIModel
from marketplace.querysets import PUBLIC_STATUSES, AIModelQuerySet
from marketplace.search import MAX_TOTAL, Band, Count, Facet, Found, Query, words
from marketplace.search.facets import count_facets
from marketplace.search.filters import BROWSE, ORDERS, matching

WEIGHTS = [0.1, 0.2, 0.4, 1.0]  # D description, C capabilities, B publisher and task, A name
MAX_RANKED = 1_000  # where more fit, the most wanted of them are ranked: reading each text takes its time
MAX_COUNTED = 3_000
LARGE = 10_000  # models, from which on the counts of all of them are kept for a minute
FACETS_SECONDS = 60
MIN_CORRECTED = 3  # a word of fewer letters is like too many others
MAX_CANDIDATES = 60


@dataclass(frozen=True, slots=True)
class Text:
    """The words as the index understands them.

    tsquery: what must fit. typed, meant: any word as typed (or corrected), any that means the same. terms: each on its
    own, where none has them all. similar: nothing fits them, so names that look like them are shown.
    """

    tsquery: str = ""
    typed: str = ""
    meant: str = ""
    terms: tuple[str, ...] = ()
    hits: int = 0  # counted no further than MAX_RANKED + 1
    corrected: str = ""
    similar: str = ""
    slug: str = field(default="", kw_only=True)


class PostgresSearch:
    def find(
        self, query: Query, *, limit: int, cursor: str | None = None, facets: bool = False, total: bool = False
    ) -> Found:
        text = understand(query.words)
        fitting = by_text(matching(query), text)
        order = order_of(query, text)
        rows = ordered(fitting, query, text).values("id", *(name.removeprefix("-") for name in order if name != "-id"))
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
            partly=bool(text.terms),
            facets=facets_of(query, text) if facets else {},
            total=fitting.order_by()[: MAX_TOTAL + 1].count() if total else None,
            before=before,
            previous_cursor=previous,
        )

    def nearest(self, text: str, *, limit: int) -> list[UUID]:
        asked = Query(text=text).words
        near = ask(correct(asked)) if asked else Text()
        if not near.typed:
            return []
        near = Text(tsquery=near.typed, typed=near.typed, meant=near.meant)
        models = by_text(AIModel.objects.published(), near).annotate(relevance=relevance(near))
        return list(models.order_by("-relevance", "-id").values_list("id", flat=True)[:limit])


# --- Words ------------------------------------------------------------------------------------------------------------


def understand(asked: list[str]) -> Text:
    """The words as typed if any public model has them all, else corrected ones, else any of them if all are known.

    Where one is not known, they are compared with the names.
    """
    if not asked:
        return Text()
    text = ask(asked)
    if text.hits or not text.tsquery:
        return _with(text)
    corrected = correct(asked)
    said = " ".join(corrected) if corrected != asked else ""
    if said:
        text = ask(corrected)
        if text.hits:
            return _with(text, corrected=said)
    if len(text.terms) > 1 and not unknown(corrected):
        return _with(text, tsquery=" | ".join(text.terms), terms=text.terms, corrected=said, hits=MAX_RANKED + 1)
    return Text(similar=" ".join(asked))


def _with(text: Text, *, terms: tuple[str, ...] = (), **changes: Any) -> Text:
    kept = {"tsquery": text.tsquery, "typed": text.typed, "meant": text.meant, "hits": text.hits, "slug": text.slug}
    return Text(**{**kept, **changes}, terms=terms)


ASK = """
WITH said AS (
  -- An empty word at the end of a phrase keeps its last one from being taken as a beginning.
  SELECT (one->>0)::int AS term, (one->>1)::bool AS typed,
         marketplace_search_query(ARRAY(SELECT jsonb_array_elements_text(one->2)))::text AS query
    FROM jsonb_array_elements(%s::jsonb) one
), terms AS (
  SELECT term, '(' || string_agg('(' || query || ')', ' | ') || ')' AS query
    FROM said WHERE query IS NOT NULL GROUP BY term
), whole AS (
  SELECT coalesce(string_agg(query, ' & ' ORDER BY term), '') AS query,
         coalesce(array_agg(query ORDER BY term), '{}') AS terms FROM terms
)
SELECT query, terms,
       coalesce((SELECT string_agg('(' || query || ')', ' | ') FROM said WHERE typed), ''),
       coalesce((SELECT string_agg('(' || query || ')', ' | ') FROM said WHERE NOT typed), ''),
       (SELECT count(*) FROM (SELECT FROM marketplace_aimodel m WHERE m.search_vector @@ whole.query::tsquery
                               AND m.status = ANY(%s) LIMIT %s) hits)
  FROM whole
"""


def ask(asked: list[str]) -> Text:
    """The words as queries, and how many public models have them all."""
    said: list[tuple[int, bool, list[str]]] = []
    terms = words.terms_of(asked)
    for number, term in enumerate(terms):
        is_last = number == len(terms) - 1
        said.append((number, True, [*term.words, *([] if is_last else [""])]))
        said += [(number, False, [*other, ""]) for other in term.others]
    with connection.cursor() as cursor:
        cursor.execute(ASK, [json.dumps(said), list(PUBLIC_STATUSES), MAX_RANKED + 1])
        tsquery, each, typed, meant, hits = cursor.fetchone()
    return Text(tsquery, typed, meant, tuple(each), hits, slug="-".join(asked))


def unknown(asked: list[str]) -> list[str]:
    """Those words that no listing has, by themselves or by their stem."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT word FROM unnest(%s::text[]) WITH ORDINALITY w(word, n) WHERE NOT EXISTS (SELECT FROM"
            " marketplace_searchword s WHERE s.word = unaccent(w.word) OR (w.n = %s AND s.word LIKE unaccent(w.word)"
            " || '%%')) AND NOT EXISTS (SELECT FROM marketplace_aimodel m WHERE"
            " m.search_vector @@ marketplace_search_query(ARRAY[w.word, '']) AND m.status = ANY(%s))"
            " AND marketplace_search_query(ARRAY[w.word]) IS NOT NULL",
            [asked, len(asked), list(PUBLIC_STATUSES)],
        )
        return [word for (word,) in cursor.fetchall() if word not in words.KNOWN]


def correct(asked: list[str]) -> list[str]:
    """Each word that nothing has, replaced by the one with the fewest slips of the finger, if that is near enough."""
    wrong = [word for word in unknown(asked) if len(word) >= MIN_CORRECTED]
    if not wrong:
        return asked
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.word, unaccent(w.word), ARRAY(SELECT s.word FROM marketplace_searchword s WHERE s.word = ANY(%s)"
            "   UNION ALL (SELECT s.word FROM marketplace_searchword s WHERE s.word %% unaccent(w.word)"
            "   ORDER BY similarity(s.word, unaccent(w.word)) DESC, s.word LIMIT %s))"
            "  FROM unnest(%s::text[]) w(word)",
            [[slip for word in wrong for slip in words.slips_of(word)], MAX_CANDIDATES, wrong],
        )
        meant = {word: words.nearest(plain, {*found, *words.KNOWN}) or word for word, plain, found in cursor.fetchall()}
    return [meant.get(word, word) for word in asked]


def facets_of(query: Query, text: Text) -> dict[Facet | Band, list[Count]]:
    """The counts of the filters: as they are now, or as they were a minute ago where more than MAX_RANKED fit or could.

    Of so many that have the words, the most wanted MAX_COUNTED are counted.
    """
    models = by_text(AIModel.objects.published(), text)
    if text.hits > MAX_RANKED:
        models = AIModel.objects.filter(pk__in=models.order_by(*BROWSE).values("id")[:MAX_COUNTED])
    elif query.words or not is_large():
        return count_facets(query, models)
    asked = replace(query, sort="relevance", own_slug="")
    key = f"facets:{hashlib.blake2b(repr(asked).encode(), digest_size=16).hexdigest()}"
    found: dict[Facet | Band, list[Count]] | None = cache.get(key)
    if found is None:
        found = count_facets(query, models)
        cache.set(key, found, FACETS_SECONDS)
    return found


def is_large() -> bool:
    """Whether counting the whole catalogue takes its time, by what the last ANALYZE saw."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'marketplace_aimodel'::regclass")
        return bool(cursor.fetchone()[0] > LARGE)


# --- Order ------------------------------------------------------------------------------------------------------------


def by_text(models: AIModelQuerySet, text: Text) -> AIModelQuerySet:
    if text.tsquery:
        return models.filter(search_vector=_search(text.tsquery))
    if text.similar:
        return models.filter(name__trigram_word_similar=text.similar)
    return models


def order_of(query: Query, text: Text) -> list[str]:
    if query.sort == "relevance":
        return ["-relevance", "-id"] if text.tsquery or text.similar else BROWSE
    return ORDERS[query.sort]


def ordered(models: AIModelQuerySet, query: Query, text: Text) -> AIModelQuerySet:
    """With the annotation that the order asks for."""
    if order_of(query, text)[0] != "-relevance":
        return models
    if text.hits > MAX_RANKED:
        most_wanted = models.order_by(*BROWSE).values("id")[:MAX_RANKED]
        named = models.filter(slug=text.slug).order_by("id").values("id")[:MAX_RANKED]
        models = AIModel.objects.filter(pk__in=most_wanted.union(named))
    return models.annotate(relevance=relevance(text))


def relevance(text: Text) -> Any:
    """How well the words fit, and a little more for what is wanted and callable; a name that is the query comes first.

    What was typed counts more than what means the same. Where no model has all the words, one with more of them comes
    before any with fewer.
    """
    if text.similar:
        fit: Any = Func(Value(text.similar), F("name"), function="word_similarity", output_field=FloatField())
    else:
        fit = _rank(text.typed) + (_rank(text.meant) * 0.4 if text.meant else 0.0)
    score = (
        fit
        * (1.0 + Ln(1.0 + F("demand"), output_field=FloatField()) / 10.0)
        * Case(When(is_callable=True, then=1.0), default=0.7)
    )
    for term in text.terms:
        score += Case(When(search_vector=_search(term), then=10.0), default=0.0)
    is_named = Q(slug=text.slug) | Q(name__iexact=text.slug.replace("-", " "))
    return score + Case(When(is_named, then=100.0), default=0.0, output_field=FloatField())


def _search(tsquery: str) -> SearchQuery:
    return SearchQuery(tsquery, search_type="raw", config="simple")


def _rank(tsquery: str) -> SearchRank:
    return SearchRank(F("search_vector"), _search(tsquery), weights=WEIGHTS, normalization=1)
