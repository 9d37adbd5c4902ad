"""Whether calls, budgets and usage agree to the last unit, and what was used beyond what was charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.conf import settings
from django.db import connection

from billing.services import check_ledger
from common.ids import encode
from common.money import display
from gateway.services.calls import ORPHAN_AFTER_SECONDS
from gateway.services.policy import RATED

#: After a call has become an orphan, the sweep has this long to end it.
SWEEP_SECONDS = 120
#: Of what a day's calls cost: above it, the gaps of a day are an alert.
MOST_GAP = 0.001

BUDGETS = """
SELECT b.id, b.held, coalesce(c.held, 0), b.spent, coalesce(c.spent, 0) FROM accounts_budget b
  LEFT JOIN (SELECT x.budget, sum(i.cost_nano) AS spent, sum(i.hold_nano) FILTER (WHERE i.state = 'started') AS held
               FROM gateway_invocation i, unnest(i.budget_ids) x(budget) GROUP BY x.budget) c ON c.budget = b.id
 WHERE b.held <> coalesce(c.held, 0) OR b.spent <> coalesce(c.spent, 0)
"""
EVENTS = """
SELECT coalesce(i.id, e.id) FROM gateway_invocation i FULL JOIN billing_usageevent e ON e.id = i.id
 WHERE (i.state = 'final' AND NOT i.is_demo AND e.id IS NULL)
    OR (e.id IS NOT NULL AND (i.id IS NULL OR i.state <> 'final' OR e.cost_nano <> i.cost_nano
                              OR e.input_tokens <> i.input_tokens OR e.output_tokens <> i.output_tokens))
"""
# The rating of `marketplace.services.pricing.cost_of`, said a second time.
RATES = """
SELECT x.id, x.rule, x.cost_nano, x.overrun_nano, x.due FROM (
  SELECT i.id, i.rule, i.cost_nano, i.overrun_nano, CASE WHEN i.rule = ANY (%(rated)s) THEN
           least(coalesce(p.per_call_nano, 0)
                 + div(2 * (i.input_tokens::numeric * coalesce(p.input_nano_per_million, 0)
                            + i.output_tokens::numeric * coalesce(p.output_nano_per_million, 0)) + 1000000, 2000000),
                 9223372036854775807)
         ELSE 0 END AS due
    FROM gateway_invocation i LEFT JOIN marketplace_price p ON p.id = i.price_id
   WHERE i.state = 'final' AND NOT i.is_demo AND i.rule <> 'demo') x
 WHERE x.cost_nano::numeric + x.overrun_nano <> x.due
"""
LEFT_BEHIND = """
SELECT i.id, i.beat_at FROM gateway_invocation i
 WHERE i.state = 'started' AND i.beat_at < clock_now() - %(seconds)s * interval '1 second'
   AND NOT EXISTS (SELECT FROM gateway_prediction p WHERE p.id = i.id AND p.status IN ('queued', 'running'))
"""
GAPS = """
SELECT (i.started_at AT TIME ZONE 'UTC')::date, o.slug, sum(i.cost_nano)::bigint, sum(i.overrun_nano)::bigint,
       coalesce(sum(c.gap_nano), 0)::bigint, coalesce(sum(abs(c.gap_nano)), 0)::bigint
  FROM gateway_invocation i
  JOIN accounts_organization o ON o.id = i.publisher_id
  LEFT JOIN gateway_usageconfirmation c ON c.id = i.id
 WHERE i.state = 'final' AND NOT i.is_demo
 GROUP BY 1, 2 HAVING sum(i.overrun_nano) > 0 OR coalesce(sum(abs(c.gap_nano)), 0) > 0
 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Gap:
    """One day (UTC) of one publisher's calls, in nano-units: what was charged, what went beyond holds, and by how much
    confirmations differ from what was settled, on the whole (`gap_nano`) and one by one (`size_nano`)."""

    day: date
    publisher: str
    charged_nano: int
    overrun_nano: int
    gap_nano: int
    size_nano: int

    @property
    def is_alarming(self) -> bool:
        return self.size_nano > self.charged_nano * MOST_GAP

    def __str__(self) -> str:
        def shown(nano: int) -> str:
            return display(nano, settings.CURRENCY)

        return (
            f"{self.day} {self.publisher}: charged {shown(self.charged_nano)}, overrun {shown(self.overrun_nano)},"
            f" metering gap {shown(self.gap_nano)}{' (above 0.1 %)' if self.is_alarming else ''}"
        )


def check_books() -> list[str]:
    """What disagrees between calls, budgets, usage and the ledger, in plain words; empty when every cent is accounted
    for."""
    return [*_wrong_budgets(), *_wrong_events(), *_wrong_rates(), *_left_behind(), *check_ledger()]


def gaps() -> list[Gap]:
    """The days and publishers with anything beyond what was charged, oldest first."""
    return [Gap(*row) for row in _rows(GAPS)]


def _wrong_budgets() -> Iterator[str]:
    for id, held, calls_held, spent, calls_spent in _rows(BUDGETS):
        yield f"budget {id}: holds {held}, its calls hold {calls_held}; spent {spent}, its calls cost {calls_spent}"


def _wrong_events() -> Iterator[str]:
    for (id,) in _rows(EVENTS):
        yield f"call {encode('req', id)}: its usage event is missing, differs, or came before its end"


def _wrong_rates() -> Iterator[str]:
    for id, rule, cost, overrun, due in _rows(RATES, {"rated": sorted(rule.value for rule in RATED)}):
        yield f"call {encode('req', id)}: cost {cost} + overrun {overrun}, rated {due} by {rule}"


def _left_behind() -> Iterator[str]:
    for id, beat_at in _rows(LEFT_BEHIND, {"seconds": ORPHAN_AFTER_SECONDS + SWEEP_SECONDS}):
        yield f"call {encode('req', id)}: started, and not renewed since {beat_at:%Y-%m-%d %H:%M:%S}"


def _rows(query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
