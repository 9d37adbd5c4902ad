"""Events for programs: written with the caller's transaction, then sent until the receiver takes them or time is up."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import F

from common import clock
from common.clock import ClockNow
from common.ids import uuid7
from common.outbound import origin_of
from common.sealing import SealError, open_sealed, seal
from common.wake import wake
from notifications.adapters.webhook import Outcome, Post, Sender
from notifications.models import WebhookDelivery, WebhookReceiver
from notifications.services.signing import webhook_secret

logger = logging.getLogger(__name__)

#: After each attempt that failed; together about three days. A little chance is added, so that not all come at once.
PAUSES = (
    *(timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 20)),
)
MAX_ATTEMPTS = len(PAUSES) + 1
GIVE_UP_AFTER = timedelta(days=4)  # of an event whose receiver was left alone for so long that it was hardly tried
KEPT_AFTER_END = timedelta(days=7)
LEASE = timedelta(minutes=2)  # longer than an attempt can take

AT_ONCE = 64  # of one worker
AT_ONCE_PER_RECEIVER = 4
#: After so many failures in a row a receiver is left alone, for longer and longer, and then tried with one event.
BROKEN_AFTER = 5
BLOCKED_FIRST = timedelta(seconds=30)
BLOCKED_MOST = timedelta(minutes=15)
SWEEP_SECONDS = 20.0  # after which a sweep begins nothing more; the next one goes on


@transaction.atomic
def send_webhook(
    *, organization_id: UUID, url: str, kind: str, subject: str, data: Mapping[str, Any], at: datetime, dedupe_key: str
) -> WebhookDelivery:
    """Put an event for the address `url` into the outbox; it leaves after the caller's transaction has committed.

    kind: such as `prediction.succeeded`.  subject: the public id of what it is about.  data: what the event says of it,
    small; it is sealed at once and erased when the delivery has ended.  at: when it happened.  dedupe_key: a second
    event with the same key is not written, the first is returned.  Raises OutboundRefused for what is no address.
    """
    receiver, _ = WebhookReceiver.objects.get_or_create(organization_id=organization_id, origin=origin_of(url)[:300])
    made = WebhookDelivery(id=uuid7(), organization_id=organization_id, receiver=receiver, kind=kind, subject=subject)
    event = {"type": kind, "timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "data": data}
    body = json.dumps(event, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":")).encode()
    delivery, _ = WebhookDelivery.objects.get_or_create(
        dedupe_key=dedupe_key,
        defaults={
            "id": made.id,
            "organization_id": organization_id,
            "receiver": receiver,
            "kind": kind,
            "subject": subject,
            "sealed_url": seal(url.encode(), made.context("sealed_url")),
            "sealed_body": seal(body, made.context("sealed_body")),
            "next_attempt_at": at,
            "give_up_at": at + GIVE_UP_AFTER,
        },
    )
    wake(deliver_webhooks)
    return delivery


def deliver_webhooks(*, seconds: float = SWEEP_SECONDS) -> int:
    """Send what is due, many at once; the number that was taken.

    Any number of workers may do this at the same time: an event is leased before it is sent, and no transaction is open
    meanwhile. A worker that dies between sending an event and saying so leaves one that is sent again after its lease,
    with the same id. A receiver has no more than a few of the places, and one that fails again and again has none.
    """
    _bury()
    if not WebhookDelivery.objects.due().exists():
        return 0
    taken, until = 0, time.monotonic() + seconds
    running: dict[Future[Outcome], WebhookDelivery] = {}
    with Sender() as sender:
        while True:
            room = AT_ONCE - len(running) if time.monotonic() < until else 0
            for delivery in _claim(room) if room else ():
                if (post := _post_of(delivery)) is not None:
                    running[sender.send(post)] = delivery
            if not running:
                return taken
            for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:  # others may have become due
                taken += _mark(running.pop(future), future.result())


def prune_webhooks() -> int:
    """Forget what ended a week ago, and receivers that nothing goes to any more. Returns how many rows went."""
    old = clock.now() - KEPT_AFTER_END
    forgotten = WebhookDelivery.objects.ended_before(old).delete()[0]
    return forgotten + WebhookReceiver.objects.filter(deliveries=None, created_at__lt=old).delete()[0]


CLAIM = """
WITH receivers AS (
  SELECT r.id, CASE WHEN r.failures >= %(broken_after)s THEN 1 ELSE %(per_receiver)s END
               - (SELECT count(*) FROM notifications_webhookdelivery b WHERE b.receiver_id = r.id
                   AND b.state = 'pending' AND b.is_leased AND b.next_attempt_at > clock_now()) AS room
    FROM notifications_webhookreceiver r
   WHERE r.blocked_until IS NULL OR r.blocked_until <= clock_now()
)
SELECT d.id FROM receivers r CROSS JOIN LATERAL (
  SELECT x.id, x.next_attempt_at FROM notifications_webhookdelivery x
   WHERE x.receiver_id = r.id AND x.state = 'pending' AND x.next_attempt_at <= clock_now()
   ORDER BY x.next_attempt_at LIMIT greatest(r.room, 0)
) d ORDER BY d.next_attempt_at LIMIT %(room)s
"""


@transaction.atomic(durable=True)
def _claim(room: int) -> list[WebhookDelivery]:
    """At most `room` due events, leased: until the lease ends, they are due for nobody else."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, {"room": room, "per_receiver": AT_ONCE_PER_RECEIVER, "broken_after": BROKEN_AFTER})
        ids = [id for (id,) in cursor.fetchall()]
    due = WebhookDelivery.objects.due().filter(pk__in=ids).select_for_update(skip_locked=True)
    claimed = list(due.order_by("next_attempt_at", "id"))
    pks = [delivery.pk for delivery in claimed]
    WebhookDelivery.objects.filter(pk__in=pks).update(
        attempts=F("attempts") + 1, is_leased=True, next_attempt_at=ClockNow() + LEASE
    )
    for delivery in claimed:
        delivery.attempts += 1
    return claimed


def _bury() -> None:
    """End what was left alone until its time was up."""
    for delivery in WebhookDelivery.objects.overdue()[:1000]:
        _end(
            delivery, WebhookDelivery.State.DEAD, delivery.last_error or "The receiver was not there in all this time."
        )


def _post_of(delivery: WebhookDelivery) -> Post | None:
    """None for an event that cannot be sent any more."""
    if delivery.attempts > MAX_ATTEMPTS:  # whoever sent it never came back, again and again
        _end(delivery, WebhookDelivery.State.DEAD, "Every attempt ended without a word.")
        return None
    try:
        return Post(
            delivery.pk,
            delivery.public_id,
            open_sealed(bytes(delivery.sealed_url or b""), delivery.context("sealed_url")).decode(),
            webhook_secret(delivery.organization_id),
            open_sealed(bytes(delivery.sealed_body or b""), delivery.context("sealed_body")),
        )
    except SealError as error:  # sealed under a key that is no longer configured; it may be again
        _fail(delivery, Outcome(None, f"It cannot be opened: {error}."))
        return None


def _mark(delivery: WebhookDelivery, outcome: Outcome) -> bool:
    """Write down what came of an attempt. Returns whether the receiver took the event."""
    receiver = WebhookReceiver.objects.filter(pk=delivery.receiver_id)
    if not outcome.reason:
        receiver.exclude(failures=0).update(failures=0, blocked_until=None)
        _end(delivery, WebhookDelivery.State.DELIVERED, "", outcome.status)
        return True
    if outcome.is_final:
        _end(delivery, WebhookDelivery.State.DEAD, outcome.reason, outcome.status)
        return False
    if outcome.status is None or outcome.status >= 500 or outcome.status == 429:  # else it is well, and says no
        failures = (receiver.values_list("failures", flat=True).first() or 0) + 1
        pause = BLOCKED_FIRST * 2 ** min(max(failures - BROKEN_AFTER, 0), 10)
        blocked_until = ClockNow() + min(pause, BLOCKED_MOST) if failures >= BROKEN_AFTER else None
        receiver.update(failures=failures, blocked_until=blocked_until)
    _fail(delivery, outcome)
    return False


def _fail(delivery: WebhookDelivery, outcome: Outcome) -> None:
    if delivery.attempts >= MAX_ATTEMPTS:
        _end(delivery, WebhookDelivery.State.DEAD, outcome.reason, outcome.status)
        return
    pause = PAUSES[delivery.attempts - 1] * random.uniform(1.0, 1.1)
    log = {"delivery_id": delivery.public_id, "kind": delivery.kind, "attempt": delivery.attempts}
    logger.warning("webhook_not_delivered", extra=log | {"reason": outcome.reason})
    _own(delivery).update(
        is_leased=False,
        next_attempt_at=ClockNow() + pause,
        last_status=outcome.status,
        last_error=outcome.reason[:300],
    )


def _end(delivery: WebhookDelivery, state: str, reason: str, status: int | None = None) -> None:
    ended = _own(delivery).update(
        state=state,
        is_leased=False,
        next_attempt_at=None,
        ended_at=ClockNow(),
        sealed_url=None,
        sealed_body=None,
        last_status=status if status is not None else F("last_status"),
        last_error=reason[:300],
    )
    log = {"delivery_id": delivery.public_id, "kind": delivery.kind, "attempt": delivery.attempts}
    if ended and reason:
        logger.warning("webhook_dead", extra=log | {"reason": reason})
    elif ended:
        logger.info("webhook_delivered", extra=log)


def _own(delivery: WebhookDelivery) -> Any:
    """The row, unless the lease has ended meanwhile and another worker has it."""
    return WebhookDelivery.objects.pending().filter(pk=delivery.pk, attempts=delivery.attempts)
