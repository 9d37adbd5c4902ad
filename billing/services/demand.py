"""Who uses which model: what the catalogue is ordered by. A loop of calls is one customer."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction

from common import clock
from common.ids import first_uuid
from marketplace import services as marketplace

HALF_LIFE = timedelta(days=30)
LOOKED_BACK = timedelta(days=180)  # an organization weighs a 64th by then

DEMAND = """
SELECT ai_model_id, round(sum(1000 * power(0.5, greatest(age, 0) / %(half)s)))::bigint
  FROM (SELECT ai_model_id, extract(epoch FROM %(at)s - max(occurred_at)) AS age
          FROM billing_usageevent
         WHERE id >= %(since)s AND mode = 'live' AND organization_id <> publisher_id
         GROUP BY ai_model_id, organization_id) used
 GROUP BY 1
"""


@transaction.atomic
def measure_demand() -> int:
    """Count the organizations with settled calls of each model and tell the catalogue. Returns how many have changed.

    The publisher's own does not count, nor do calls in test mode, which cost nothing. An organization weighs 1 on the
    day of its last call and half as much every 30 days.
    """
    at = clock.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('billing.measure_demand'))")
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(DEMAND, {"at": at, "since": first_uuid(at - LOOKED_BACK), "half": HALF_LIFE.total_seconds()})
        demand = dict(cursor.fetchall())
    return marketplace.apply_demand(demand)
