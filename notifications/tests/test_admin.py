"""The outbox for staff."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from notifications.models import Message
from notifications.tests.factories import make_message
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff_client(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("staff@example.org", "correct horse battery"))
    return client


def test_messages_are_listed_and_shown_without_their_payload(staff_client: Client):
    message = make_message(payload={"code": "K7RT2M"})
    listed = staff_client.get("/admin/notifications/message/")
    shown = staff_client.get(f"/admin/notifications/message/{message.pk}/change/")
    assert message.public_id in listed.content.decode()
    assert shown.status_code == 200
    assert "anna@example.org" in shown.content.decode()
    assert "payload" not in shown.content.decode().lower()


def test_nothing_is_written_by_hand(staff_client: Client):
    message = make_message()
    assert staff_client.get("/admin/notifications/message/add/").status_code == 403
    assert staff_client.post(f"/admin/notifications/message/{message.pk}/delete/", {"post": "yes"}).status_code == 403
    staff_client.post(f"/admin/notifications/message/{message.pk}/change/", {"to_address": "b@example.org"})
    message.refresh_from_db()
    assert message.to_address == "anna@example.org"


def test_the_dead_are_sent_again(staff_client: Client):
    dead = make_message(state="dead", attempts=8, next_attempt_at=None)
    pending = make_message(attempts=2)
    response = staff_client.post(
        "/admin/notifications/message/",
        {"action": "send_again", "_selected_action": [str(dead.pk), str(pending.pk)]},
        follow=True,
    )
    assert "1 message will be sent again." in response.content.decode()
    assert list(Message.objects.values_list("state", "attempts").order_by("id")) == [("pending", 0), ("pending", 2)]
    [event] = AuditEvent.objects.filter(action="message.sent_again")
    assert (event.target_id, event.before) == (dead.pk, {"state": "dead", "attempts": 8})
    assert event.after == {"state": "pending", "attempts": 0, "kind": dead.kind}


def test_the_list_costs_the_same_for_many(
    staff_client: Client, django_assert_max_num_queries: Callable[..., AbstractContextManager[object]]
):
    for _ in range(30):
        make_message()
    staff_client.get("/admin/")  # the first request of a session notes that it is there
    with django_assert_max_num_queries(8):
        assert staff_client.get("/admin/notifications/message/").status_code == 200
