"""The sweep that ends calls which nobody is left to end.

Each is charged by the first of these that there is evidence for: its publisher's confirmation of usage, the last note
of what it had delivered, or nothing (`gateway.services.policy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import connection

from common import clock
from common.ids import first_uuid
from gateway.adapters import Usage
from gateway.errors import GatewayStopped
from gateway.models import Invocation, Prediction, SweepMark, UsageConfirmation
from gateway.services.calls import ORPHAN_AFTER_SECONDS, Settle, move
from gateway.services.policy import Outcome, charge
from marketplace.models import Price

logger = structlog.get_logger(__name__)

#: A call is written at most this long after its id was made: a slow body, a process whose clock is late.
WRITTEN_WITHIN = timedelta(hours=1)
ENDED_AT_ONCE = 500


def settle_orphans() -> int:
    """End calls whose process stopped renewing them: their hold returns. Returns how many ended.

    Looked through are the calls since the mark of the last run, and the few that were alive before it.
    """
    at = clock.now()
    mark = SweepMark.objects.filter(name=SweepMark.ORPHANS).first() or SweepMark(low_water=UUID(int=0), carried=[])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, beat_at FROM gateway_invocation WHERE state = 'started' AND id >= %s UNION ALL"
            " SELECT id, beat_at FROM gateway_invocation WHERE state = 'started' AND id = ANY (%s) AND id < %s",
            [mark.low_water, mark.carried, mark.low_water],
        )
        started = cursor.fetchall()
    alive_since = at - timedelta(seconds=ORPHAN_AFTER_SECONDS)
    in_line = set(Prediction.objects.live().values_list("id", flat=True))  # their holds live as long as they do
    orphans = sorted(id for id, beat_at in started if beat_at < alive_since and id not in in_line)
    ended = 0
    for first in range(0, len(orphans), ENDED_AT_ONCE):
        ended += _end(orphans[first : first + ENDED_AT_ONCE])
    # Last, so that a run that is cut off is repeated. Two at once only do the same twice.
    low_water = max(mark.low_water, first_uuid(at - WRITTEN_WITHIN))
    carried = sorted(id for id, beat_at in started if (beat_at >= alive_since or id in in_line) and id < low_water)
    SweepMark.objects.update_or_create(
        name=SweepMark.ORPHANS, defaults={"low_water": low_water, "carried": carried, "swept_at": at}
    )
    return ended


def _end(ids: Sequence[UUID]) -> int:
    confirmations = UsageConfirmation.objects.in_bulk(ids)
    calls = list(Invocation.objects.filter(pk__in=ids, pk__gte=ids[0], pk__lte=ids[-1]).order_by("pk"))
    prices = Price.objects.in_bulk({call.price_id for call in calls})
    settles = [_settle(call, prices.get(call.price_id), confirmations.get(call.id)) for call in calls]
    unsettled = move(settles=settles).unsettled
    for position, settle in enumerate(settles):
        if position not in unsettled:
            logger.warning("orphan", call=str(settle.id), rule=settle.rule.value, cost_nano=settle.cost_nano)
    return len(settles) - len(unsettled)


def _noted(call: Invocation) -> Usage | None:
    """What the last beat wrote down; None when nothing had been delivered by then."""
    if call.usage_source != "counted" or not call.output_tokens:
        return None
    return Usage(call.input_tokens, call.output_tokens, "counted")


def _settle(call: Invocation, price: Price | None, confirmed: UsageConfirmation | None) -> Settle:
    usage = _noted(call) if confirmed is None else Usage(confirmed.input_tokens, confirmed.output_tokens)
    if price is None:  # it went with its model, which nobody but its publisher ever saw
        usage = None
    charged = charge(Outcome.ORPHANED, mode=call.mode, price=price or Price(), usage=usage)
    return Settle(
        id=call.id,
        rule=charged.rule,
        cost_nano=charged.cost_nano,
        input_tokens=charged.usage.input_tokens,
        output_tokens=charged.usage.output_tokens,
        usage_source=charged.usage.source,
        http_status=GatewayStopped.status,
        error_code=GatewayStopped.code,
        latency_ms=0,
        first_token_ms=None,
    )
