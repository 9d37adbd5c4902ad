"""Settled calls become charges and entries in the books, in batches, once."""

from __future__ import annotations

import logging
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

logger = logging.getLogger(__name__)

BATCH = 5_000
BATCHES = 200  # of one run; the next one goes on


def post_usage(*, most: int = BATCH, batches: int = BATCHES) -> int:
    """Post what is settled and not posted, `most` calls a transaction. Returns how many calls.

    May be run at any time and by several at once: one of them posts. What the credit of an organization does not cover
    is left, and named in the log.
    """
    posted, without = 0, set[UUID]()
    fee_bp = int(settings.PLATFORM_FEE * 100)
    for _ in range(batches):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT posted, lacking FROM billing_post_usage(%s, %s, %s::uuid[], %s)",
                [most, fee_bp, sorted(without), settings.CURRENCY],
            )
            count, lacking = cursor.fetchone()
        posted += count
        for organization in lacking:
            logger.error("credit_does_not_cover_usage", extra={"organization_id": str(organization)})
        without.update(lacking)
        if count + len(lacking) == 0 or (count < most and not lacking):
            break
    return posted
