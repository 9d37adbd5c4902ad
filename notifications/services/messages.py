"""Writing messages to the outbox, and handing them over. Knows how, not what: the words are the apps' own."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils import translation

from common.clock import ClockNow
from common.ids import uuid7
from common.sealing import count_retired, open_sealed, reseal_column, seal
from common.wake import wake
from notifications.adapters import Adapter, DeliveryError, Envelope
from notifications.adapters.email import EmailAdapter
from notifications.models import Message, payload_context
from notifications.querysets import MessageQuerySet
from observability.services import record

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)

ADAPTERS: Mapping[str, Callable[[], Adapter]] = {Message.Channel.EMAIL: EmailAdapter}

LEASE = timedelta(minutes=5)  # longer than one message can take: each step of SMTP ends after EMAIL_TIMEOUT
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (0.5, 2, 10, 30, 120, 360, 720))  # after each failed attempt
MAX_ATTEMPTS = len(PAUSES) + 1

_KIND = re.compile(r"[a-z_]+\.[a-z0-9_]+")


@transaction.atomic
def notify(
    *,
    to: str,
    kind: str,
    payload: Mapping[str, Any],
    recipient: "AbstractBaseUser | None" = None,
    dedupe_key: str | None = None,
) -> Message:
    """Put a message for the address `to` into the outbox; it leaves after the caller's transaction has committed.

    kind: `<app>.<name>`, whose words are `templates/<app>/emails/<name>.*`.  payload: what the words need, as JSON
    allows it; it is sealed at once and erased when the message has been sent.  dedupe_key: a second message with the
    same key is not written, the first is returned.  The language is the one that is active now.
    Raises LookupError for a kind without words.
    """
    if not _KIND.fullmatch(kind):
        raise LookupError(f"{kind!r} is not <app>.<name>")
    ADAPTERS[Message.Channel.EMAIL]().check(kind)
    id = uuid7()
    values = {
        "id": id,
        "kind": kind,
        "recipient": recipient,
        "to_address": to,
        "channel": Message.Channel.EMAIL,
        "language": translation.get_language() or "en",
        "payload": seal(json.dumps(payload, cls=DjangoJSONEncoder).encode(), payload_context(id)),
    }
    if dedupe_key is None:
        message = Message.objects.create(**values)
    else:
        message, _ = Message.objects.get_or_create(dedupe_key=dedupe_key, defaults=values)
    wake(deliver)
    return message


def deliver(*, limit: int = 100) -> int:
    """Hand over up to `limit` due messages; the number that was sent.

    Any number of workers may do this at once: a message is leased before it is sent and nothing is locked meanwhile.
    A worker that dies between handing over and saying so leaves a message that is sent again after its lease, under
    the same Message-ID. Raises RuntimeError inside a transaction.
    """
    adapters: dict[str, Adapter] = {}
    sent = 0
    try:
        for _ in range(limit):
            message = _claim()
            if message is None:
                break
            if message.channel not in adapters:
                adapters[message.channel] = ADAPTERS[message.channel]()
            sent += _hand_over(message, adapters[message.channel])
    finally:
        for adapter in adapters.values():
            adapter.close()
    return sent


def reseal_messages() -> int:
    """Bring what waits to be sent under the current key-encryption key. Returns how many changed."""
    return reseal_column(Message.objects.all(), "payload", lambda message: payload_context(message.id))


def count_retired_messages() -> int:
    """How many messages that wait are not under the current key-encryption key."""
    return count_retired(Message.objects.all(), "payload")


@transaction.atomic
def send_again(*, messages: MessageQuerySet[Message]) -> int:
    """Give dead messages a new life with all its attempts, for the staff; the number that was revived."""
    dead = list(messages.dead().select_for_update(of=("self",)))
    fresh = {"state": Message.State.PENDING, "attempts": 0}
    Message.objects.filter(pk__in=[one.pk for one in dead]).update(**fresh, next_attempt_at=ClockNow(), last_error="")
    for one in dead:
        before = {"state": one.state, "attempts": one.attempts}
        record(
            "message.sent_again",
            target=one,
            before=before,
            after={**fresh, "kind": one.kind},
        )
    if dead:
        wake(deliver)
    return len(dead)


@transaction.atomic(durable=True)
def _claim() -> Message | None:
    """The longest waiting message, leased: until the lease ends, it is due for nobody else."""
    message = Message.objects.due().select_for_update(skip_locked=True).first()
    if message is not None:
        message.attempts += 1
        Message.objects.filter(pk=message.pk).update(attempts=message.attempts, next_attempt_at=ClockNow() + LEASE)
    return message


def _hand_over(message: Message, adapter: Adapter) -> bool:
    log = {"message_id": message.public_id, "kind": message.kind, "attempt": message.attempts}
    if message.attempts > MAX_ATTEMPTS:  # whoever sent it never came back, again and again
        _mark_failed(message, "Every attempt ended without a word", is_last=True)
        logger.error("message_dead", extra=log)
        return False
    try:
        payload = json.loads(open_sealed(bytes(message.payload or b""), payload_context(message.id)))
        adapter.send(Envelope(message.id, message.kind, message.to_address, message.language, payload))
    except DeliveryError as error:
        is_last = error.permanent or message.attempts == MAX_ATTEMPTS
        _mark_failed(message, str(error), is_last=is_last)
        logger.warning("message_dead" if is_last else "message_not_sent", extra=log | {"reason": str(error)})
        return False
    except Exception as error:  # a fault in one message's words must not hold up the others
        is_last = message.attempts == MAX_ATTEMPTS
        _mark_failed(message, type(error).__name__, is_last=is_last)
        logger.exception("message_dead" if is_last else "message_not_sent", extra=log)
        return False
    Message.objects.pending().filter(pk=message.pk).update(
        state=Message.State.SENT, sent_at=ClockNow(), next_attempt_at=None, payload=None, last_error=""
    )
    logger.info("message_sent", extra=log)
    return True


def _mark_failed(message: Message, reason: str, *, is_last: bool) -> None:
    """Unless the lease has ended meanwhile and another worker has the message."""
    changes: dict[str, Any] = {"last_error": reason.replace("\0", "")[:300]}
    if is_last:
        changes |= {"state": Message.State.DEAD, "next_attempt_at": None}
    else:
        changes |= {"next_attempt_at": ClockNow() + PAUSES[message.attempts - 1]}
    Message.objects.pending().filter(pk=message.pk, attempts=message.attempts).update(**changes)
