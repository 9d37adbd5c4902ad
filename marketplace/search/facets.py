"""How many models have each value of a filter: all of them counted in one reading of what fits the words."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import BooleanField, Case, Q, Value, When

from marketplace.querysets import AIModelQuerySet
from marketplace.search import BANDS, FACETS, Band, Count, Facet, Query
from marketplace.search.filters import conditions

MAX_FACET_VALUES = 50
#: What a value is read from, and how a bound compares with it.
VALUES: dict[Facet, str] = {
    "category": "category",
    "capability": "unnest(capabilities)",
    "pricing": "price_type",
    "publisher": "publisher_id",
}
SHOWN: dict[Facet, str] = {"publisher": "(SELECT slug FROM accounts_organization o WHERE o.id = value)"}
BOUNDS: dict[Band, str] = {
    "price_max": "price_order <= bound",
    "min_rating": "rating_tenths >= bound",
    "latency_max": "latency_order <= bound",
}
COLUMNS = ("category", "capabilities", "price_type", "publisher_id", "price_order", "rating_tenths", "latency_order")


def count_facets(query: Query, models: AIModelQuerySet) -> dict[Facet | Band, list[Count]]:
    """The values of each facet among the `models` that fit all *other* filters, the most frequent first.

    Of each band how many keep its bound, in the order of the bounds.
    """
    wanted = conditions(query)
    fits = {f"fits_{name}": _flag(condition) for name, condition in wanted.items()}
    rows = models.order_by().annotate(**fits).values_list(*COLUMNS, *fits)
    sql, params = rows.query.sql_with_params()
    names = ", ".join((*COLUMNS, *fits))
    counts = [
        f"(SELECT '{facet}', {SHOWN.get(facet, 'value')}::text, n"  # noqa: S608 names of ours, so too below
        f" FROM (SELECT {source} AS value, count(*) AS n FROM fitting WHERE {_others(facet, wanted)}"
        f" GROUP BY 1 ORDER BY n DESC LIMIT {MAX_FACET_VALUES}) {facet})"
        for facet, source in VALUES.items()
    ]
    for band, compares in BOUNDS.items():
        each = ", ".join(
            f"count(*) FILTER (WHERE {compares.replace('bound', str(bound))})" for bound, _text in BANDS[band]
        )
        texts = ", ".join(f"'{text}'" for _bound, text in BANDS[band])
        counts.append(
            f"(SELECT '{band}', text, n"  # noqa: S608
            f" FROM (SELECT ARRAY[{each}] AS ns FROM fitting WHERE {_others(band, wanted)}) c,"
            f" unnest(ARRAY[{texts}], c.ns) AS u(text, n))"
        )
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH fitting({names}) AS MATERIALIZED ({sql}) {' UNION ALL '.join(counts)}",
            params,
        )
        found: dict[Facet | Band, list[Count]] = {name: [] for name in (*FACETS, *BANDS)}
        for name, value, count in cursor.fetchall():
            if value:
                found[name].append(Count(value, count))
    for facet in FACETS:
        found[facet].sort(key=lambda one: (-one.count, one.value))
    return found


def _flag(condition: Q) -> Any:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


def _others(name: Facet | Band, wanted: dict[Facet | Band, Q]) -> str:
    return " AND ".join(f"fits_{other}" for other in wanted if other != name) or "true"
