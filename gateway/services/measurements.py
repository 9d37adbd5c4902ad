"""What the calls say about the models: how fast they answer, how often, how much goes in and out."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from common import clock
from common.ids import first_uuid
from gateway import errors
from marketplace import services as marketplace
from marketplace.models import MEASURED_DAYS
from marketplace.services import Measured, Tally

FIGURE_DAYS = 30
RECENT_DAYS = 3
#: A call that ended so is the publisher's failure. One without a code was answered; any other says nothing about them.
PUBLISHER_FAULTS = [
    problem.code
    for problem in (errors.UpstreamFailed, errors.UpstreamTimeout, errors.UpstreamBusy, errors.UpstreamInvalidOutput)
]

# Made-up calls count for the demo's own models alone: nobody's figures are better for them.
COUNTED_CALLS = """
  FROM gateway_invocation i JOIN marketplace_aimodel m ON m.id = i.ai_model_id
 WHERE i.id >= %(since)s AND i.id < %(until)s AND i.state = 'final' AND (m.is_demo OR NOT i.is_demo)
"""
FIGURES_SQL = f"""
WITH calls AS (
  SELECT i.id, i.ai_model_id, i.latency_ms, i.first_token_ms, i.input_tokens, i.output_tokens,
         i.error_code = '' AS is_answered, i.error_code = '' OR i.error_code = ANY (%(faults)s) AS counts,
         i.error_code = '' AND output_tokens > 0 AND latency_ms > first_token_ms AS is_timed
  {COUNTED_CALLS}
)
SELECT ai_model_id, count(*),
       count(*) FILTER (WHERE counts), count(*) FILTER (WHERE is_answered),
       count(*) FILTER (WHERE counts AND id >= %(recent)s), count(*) FILTER (WHERE is_answered AND id >= %(recent)s),
       count(first_token_ms) FILTER (WHERE is_answered), count(*) FILTER (WHERE is_timed),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE is_answered),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY first_token_ms) FILTER (WHERE is_answered),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY output_tokens * 1000.0 / (latency_ms - first_token_ms))
         FILTER (WHERE is_timed),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY input_tokens) FILTER (WHERE is_answered),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY output_tokens) FILTER (WHERE is_answered)
  FROM calls GROUP BY ai_model_id
"""  # noqa: S608 put together from constants
DAYS_SQL = f"""
SELECT i.ai_model_id, (i.started_at AT TIME ZONE 'UTC')::date,
       count(*) FILTER (WHERE i.error_code = '' OR i.error_code = ANY (%(faults)s)),
       count(*) FILTER (WHERE i.error_code = '')
  {COUNTED_CALLS}
 GROUP BY 1, 2
"""


@transaction.atomic
def measure_models(*, all_days: bool = False) -> int:
    """Read the calls and tell the catalogue. Returns how many models have any.

    The figures are of the last 30 days. Of the 90 days of availability those are counted that may have changed: from
    the day before the last one that is known on; `all_days` counts them all. Repeating it changes nothing; while
    another run is under way it does nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('gateway.measure_models'))")
        if not cursor.fetchone()[0]:
            return 0
    at = clock.now()
    days_from = _first_day(at, all_days=all_days)
    days = _count_days(days_from, at)
    measured = [_measured(row, days.pop(row[0], {})) for row in _read_figures(at)]
    measured += [Measured(id, days=tallies) for id, tallies in days.items()]  # none of late, but some before
    return marketplace.apply_measurements(measured=measured, at=at, days_from=days_from)


def _first_day(at: datetime, *, all_days: bool) -> date:
    oldest = at.astimezone(UTC).date() - timedelta(days=MEASURED_DAYS - 1)
    known = None if all_days else marketplace.days_known_until()
    return oldest if known is None else max(oldest, known - timedelta(days=1))  # calls of then have ended since


def _count_days(days_from: date, at: datetime) -> dict[UUID, dict[date, Tally]]:
    since = datetime.combine(days_from, time(), UTC)
    days: dict[UUID, dict[date, Tally]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(DAYS_SQL, {"since": first_uuid(since), "until": first_uuid(at), "faults": PUBLISHER_FAULTS})
        for ai_model_id, day, counted, answered in cursor.fetchall():
            days[ai_model_id][day] = Tally(counted, answered)
    return days


def _read_figures(at: datetime) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            FIGURES_SQL,
            {
                "since": first_uuid(at - timedelta(days=FIGURE_DAYS)),
                "recent": first_uuid(at - timedelta(days=RECENT_DAYS)),
                "until": first_uuid(at),
                "faults": PUBLISHER_FAULTS,
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _measured(row: tuple[Any, ...], days: dict[date, Tally]) -> Measured:
    id, requests, counted, answered, recent_counted, recent_answered, streamed, timed = row[:8]
    latency, first_token, per_second, typical_input, typical_output = row[8:]
    latency_p50, latency_p95 = latency or (None, None)
    first_token_p50, first_token_p95 = first_token or (None, None)
    return Measured(
        ai_model_id=id,
        requests=requests,
        all=Tally(counted, answered),
        recent=Tally(recent_counted, recent_answered),
        streamed=streamed,
        timed=timed,
        figures={
            "latency_p50_ms": latency_p50,
            "latency_p95_ms": latency_p95,
            "first_token_p50_ms": first_token_p50,
            "first_token_p95_ms": first_token_p95,
            "tokens_per_second": per_second,
            "typical_input_tokens": typical_input,
            "typical_output_tokens": typical_output,
        },
        days=days,
    )
