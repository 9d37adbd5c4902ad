"""Calls summed up by hour and model, so that a page about a month reads hundreds of rows and no calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction

from analytics.models import ModelHour, RolledHour
from common import clock
from common.ids import first_uuid
from gateway.models import Invocation
from gateway.services.measurements import COUNTED_CALLS, PUBLISHER_FAULTS
from marketplace.models import MEASURED_DAYS

HOUR = timedelta(hours=1)
STRETCH = 24  # hours that are read in one go
MOST_STRETCHES = 8  # of one sweep: after a long pause the newest hours are there first
#: A call's id is made a moment before its row; no row comes later than this after its hour.
SETTLED_DOWN = timedelta(minutes=5)
MAX_FIGURE = 2**31 - 1
#: The columns of `HOURS_SQL` after the model and the hour.
FIGURES = (
    *("requests", "counted", "answered", "errors"),
    *("latency_values", "latency_counts", "first_token_values", "first_token_counts"),
    *("speed_values", "speed_counts"),
)


def _rounded(figure: str) -> str:
    """SQL that keeps the seven highest binary digits of a whole number, at the middle of what they stand for."""
    step = f"(1 << greatest(length(ltrim(({figure})::bit(32)::text, '0')) - 7, 0))"
    return f"(({figure}) / {step} * {step} + {step} / 2)"


def _distribution(name: str, figure: str, condition: str) -> str:
    return f"""
{name} AS (
  SELECT ai_model_id, hour, array_agg(value ORDER BY value) AS found, array_agg(number ORDER BY value) AS numbers FROM (
    SELECT ai_model_id, hour, {_rounded(figure)} AS value, count(*)::int AS number
      FROM calls WHERE {condition} GROUP BY 1, 2, 3
  ) x GROUP BY 1, 2
)"""  # noqa: S608 put together from constants


SPEED = f"least(round(output_tokens * 10000.0 / (latency_ms - first_token_ms)), {MAX_FIGURE // 2})::int"
HOURS_SQL = f"""
WITH calls AS (
  SELECT i.ai_model_id, width_bucket(i.id, %(edges)s::uuid[]) AS hour, i.error_code, i.latency_ms, i.first_token_ms,
         i.output_tokens, i.error_code = '' AS is_answered,
         i.error_code = '' OR i.error_code = ANY (%(faults)s) AS counts
  {COUNTED_CALLS}
),
{_distribution("latency", "latency_ms", "is_answered AND latency_ms IS NOT NULL")},
{_distribution("first_token", "first_token_ms", "is_answered AND first_token_ms IS NOT NULL")},
{_distribution("speed", SPEED, "is_answered AND output_tokens > 0 AND latency_ms > first_token_ms")},
errors AS (
  SELECT ai_model_id, hour, jsonb_object_agg(error_code, number) AS found FROM (
    SELECT ai_model_id, hour, error_code, count(*) AS number FROM calls WHERE NOT is_answered GROUP BY 1, 2, 3
  ) x GROUP BY 1, 2
),
sums AS (
  SELECT ai_model_id, hour, count(*) AS requests, count(*) FILTER (WHERE counts) AS counted,
         count(*) FILTER (WHERE is_answered) AS answered
    FROM calls GROUP BY 1, 2
)
SELECT ai_model_id, hour, requests, counted, answered, coalesce(errors.found, '{{}}')::text,
       coalesce(latency.found, '{{}}'), coalesce(latency.numbers, '{{}}'),
       coalesce(first_token.found, '{{}}'), coalesce(first_token.numbers, '{{}}'),
       coalesce(speed.found, '{{}}'), coalesce(speed.numbers, '{{}}')
  FROM sums LEFT JOIN errors USING (ai_model_id, hour) LEFT JOIN latency USING (ai_model_id, hour)
            LEFT JOIN first_token USING (ai_model_id, hour) LEFT JOIN speed USING (ai_model_id, hour)
"""  # noqa: S608 put together from constants
UNDER_WAY_SQL = """
SELECT DISTINCT width_bucket(i.id, %(edges)s::uuid[]) FROM gateway_invocation i
 WHERE i.id >= %(since)s AND i.id < %(until)s AND i.state = 'started'
"""


def roll_up(*, all_hours: bool = False) -> int:
    """Sum up the hours that are not complete yet, the newest first, each as a whole. Returns how many.

    A call belongs to the hour of its id. Repeating it changes nothing; after a pause it catches up, a week with each
    run. `all_hours` begins anew, for calls that were written into the past. Hours of more than 90 days ago are
    forgotten. While another run is under way it does nothing.
    """
    at = clock.now()
    done = 0
    for number, stretch in enumerate(_stretches(at, all_hours=all_hours)):
        if number >= MOST_STRETCHES and not all_hours:
            break
        if not _replace(stretch, at):
            break
        done += len(stretch)
    return done


def _stretches(at: datetime, *, all_hours: bool) -> Iterator[list[datetime]]:
    """Hours to be summed up that follow one another, each stretch ascending, the newest stretch first."""
    this_hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    oldest = this_hour - timedelta(days=MEASURED_DAYS)
    first = Invocation.objects.order_by("id").values_list("id", flat=True).first()
    if first is None:
        return
    began = datetime.fromtimestamp((first.int >> 80) / 1000, UTC).replace(minute=0, second=0, microsecond=0)
    complete = RolledHour.objects.filter(start__gte=oldest, is_complete=True).values_list("start", flat=True)
    known = set() if all_hours else set(complete)
    stretch: list[datetime] = []
    start = this_hour
    while start >= max(oldest, began):
        if start not in known:
            stretch.append(start)
        if stretch and (start in known or len(stretch) == STRETCH):
            yield stretch[::-1]
            stretch = []
        start -= HOUR
    if stretch:
        yield stretch[::-1]


@transaction.atomic
def _replace(hours: list[datetime], at: datetime) -> bool:
    """These hours as the calls are now; False while somebody else is at it."""
    edges = [first_uuid(hour) for hour in hours]
    given: dict[str, Any] = {
        "edges": edges,
        "since": edges[0],
        "until": first_uuid(hours[-1] + HOUR),
        "faults": PUBLISHER_FAULTS,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('analytics.roll_up'))")
        if not cursor.fetchone()[0]:
            return False
        cursor.execute(UNDER_WAY_SQL, given)  # before the sums: what is not under way now is among them
        under_way = {hours[number - 1] for (number,) in cursor.fetchall()}
        cursor.execute(HOURS_SQL, given)
        rows = [_row(hours, row) for row in cursor.fetchall()]
    before = ModelHour.objects.filter(start__gte=hours[0], start__lte=hours[-1]).values_list(
        "id", "ai_model_id", "start"
    )
    found = {(row.ai_model_id, row.start) for row in rows}
    ModelHour.objects.filter(pk__in=[id for id, *key in before if tuple(key) not in found]).delete()
    ModelHour.objects.bulk_create(
        rows, batch_size=500, update_conflicts=True, unique_fields=["ai_model", "start"], update_fields=FIGURES
    )
    marks = [
        RolledHour(start=hour, rolled_at=at, is_complete=hour not in under_way and at >= hour + HOUR + SETTLED_DOWN)
        for hour in hours
    ]
    RolledHour.objects.bulk_create(
        marks, update_conflicts=True, unique_fields=["start"], update_fields=["rolled_at", "is_complete"]
    )
    forgotten = at - timedelta(days=MEASURED_DAYS + 1)
    ModelHour.objects.filter(start__lt=forgotten).delete()
    RolledHour.objects.filter(start__lt=forgotten).delete()
    return True


def _row(hours: list[datetime], row: tuple[Any, ...]) -> ModelHour:
    ai_model_id, hour, *figures = row
    given = dict(zip(FIGURES, figures, strict=True))
    given["errors"] = msgspec.json.decode(given["errors"])
    return ModelHour(ai_model_id=ai_model_id, start=hours[hour - 1], **given)
