"""The database keeps the rules of a message."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from notifications.models import Message
from notifications.tests.factories import make_message

pytestmark = pytest.mark.django_db

SENT_AT = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("message_state_known", {"state": "lost", "next_attempt_at": None}),
        ("message_channel_known", {"channel": "pigeon"}),
        ("message_has_kind_and_address", {"kind": ""}),
        ("message_has_kind_and_address", {"to_address": ""}),
        ("message_attempts_not_negative", {"attempts": -1}),
        ("message_sent_at_when_sent", {"state": "sent", "payload": None, "next_attempt_at": None}),
        ("message_sent_at_when_sent", {"sent_at": SENT_AT}),
        ("message_payload_until_sent", {"state": "sent", "sent_at": SENT_AT, "next_attempt_at": None}),
        ("message_payload_until_sent", {"payload": None}),
        ("message_next_attempt_while_pending", {"next_attempt_at": None}),
        ("message_next_attempt_while_pending", {"state": "dead"}),
    ],
)
def test_constraints(constraint: str, fields: dict[str, Any]):
    message = make_message()
    with pytest.raises(IntegrityError, match=f'"{constraint}"'), transaction.atomic():
        Message.objects.filter(pk=message.pk).update(**fields)


def test_a_dedupe_key_is_used_once():
    make_message(dedupe_key="a")
    make_message(dedupe_key=None)
    make_message(dedupe_key=None)
    with pytest.raises(IntegrityError, match="dedupe_key"), transaction.atomic():
        make_message(dedupe_key="a")


def test_a_new_message_is_due_at_once():
    message = make_message()
    assert list(Message.objects.due()) == [message]
    assert message.next_attempt_at is not None


def test_the_search_for_due_messages_has_an_index():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        sql, params = Message.objects.due()[:1].query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "message_due" in plan
    assert "Sort" not in plan
