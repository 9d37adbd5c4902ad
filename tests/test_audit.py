"""What is written into the audit log, and that it stands."""

import threading
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import path

from accounts.tests.factories import make_user
from common.ids import decode, uuid7
from common.policy import Policy
from config.roles import as_owner
from observability.models import AuditEvent
from observability.services import record
from observability.services.audit import SecretInAudit

pytestmark = pytest.mark.django_db


def seal() -> None:
    """What a commit does."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def note(request):
    from django.http import HttpResponse

    record("thing.done", after={"colour": "red"})
    return HttpResponse()


urlpatterns = [path("note", note, name="note")]
ACCESS = {"*": Policy.signed_in()}


def test_an_event_says_who_did_what_to_what():
    user = make_user()

    record("account.renamed", target=user, actor_user_id=user.pk, before={"name": "A"}, after={"name": "B"})
    seal()

    event = AuditEvent.objects.get(action="account.renamed")
    assert (event.actor_user_id, event.target_type, event.target_id) == (user.pk, "user", user.pk)
    assert (event.before, event.after) == ({"name": "A"}, {"name": "B"})
    first = AuditEvent.objects.order_by("seq").first()
    assert (first.seq, first.previous_hash) == (1, "0" * 64)
    assert event.seq > 1
    assert len(event.hash) == 64


def test_a_request_tells_the_rest(settings):
    settings.ROOT_URLCONF = __name__
    settings.ACCESS_TABLE = f"{__name__}.ACCESS"
    settings.TRUSTED_PROXIES = 1
    user = make_user()
    client = Client()
    client.force_login(user)

    response = client.get("/note", headers={"user-agent": "Shell/1.0\x07", "x-forwarded-for": "6.6.6.6, 203.0.113.9"})

    event = AuditEvent.objects.get(action="thing.done")
    assert event.actor_user_id == user.pk
    assert event.organization_id == user.personal_organization.pk
    assert event.address == "203.0.113.9"
    assert event.client == "Shell/1.0"
    assert event.request_id == decode("req", response["x-request-id"])


def test_each_link_names_the_one_before():
    for number in range(3):
        record("thing.done", after={"number": number})
    seal()

    one, two, three = AuditEvent.objects.order_by("seq")
    assert (two.previous_hash, three.previous_hash) == (one.hash, two.hash)
    assert [event.after["number"] for event in (one, two, three)] == [0, 1, 2]


def test_what_is_undone_leaves_no_event():
    with transaction.atomic():
        record("thing.done")
        transaction.set_rollback(True)

    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"password": "hunter2"},
        {"secret": "x"},
        {"refresh_token": "x"},
        {"note": "agr_live_" + "a" * 37},
        {"deep": [{"er": "whsec_" + "a" * 20}]},
        {"note": "it was eyJhbGciOiJI.eyJzdWIiOiIx.abc"},
        {"digest": b"1234"},
    ],
)
def test_a_secret_is_refused_here_and_masked_on_a_running_site(values, settings):
    with pytest.raises(SecretInAudit):
        record("thing.done", after=values)

    settings.AUDIT_REFUSES_SECRETS = False
    record("thing.done", after=values)
    text = str(AuditEvent.objects.get().after)
    assert "hidden" in text
    assert not any(part in text for part in ("hunter2", "'x'", "aaaa", "eyJzdWIi", "1234"))


@pytest.mark.parametrize("values", [{"has_secret": True}, {"secret": None}, {"token_count": 12}, {"id": uuid7()}])
def test_what_is_no_secret_is_kept(values):
    record("thing.done", after=values)

    (kept,) = AuditEvent.objects.get().after.values()
    assert kept == next(str(value) if isinstance(value, UUID) else value for value in values.values())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE observability_auditevent SET action = 'a.b'",
        "UPDATE observability_auditevent SET seq = 7",
        "DELETE FROM observability_auditevent",
        "TRUNCATE observability_auditevent",
    ],
)
@pytest.mark.django_db(transaction=True)
def test_not_even_the_owner_changes_what_is_written(statement):
    record("thing.done")

    with as_owner(), pytest.raises(DatabaseError, match="stands as it was written"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_whoever_records_first_and_locks_later_waits_for_nobody():
    """Two services that take the chain and a row in opposite orders: with the lock taken at the insert, a deadlock."""
    user = make_user()
    recorded, locked = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def lock_and_record() -> None:
        try:
            with transaction.atomic():
                type(user).objects.select_for_update().get(pk=user.pk)
                locked.set()
                assert recorded.wait(10)
                record("second.done")
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=lock_and_record)
    with transaction.atomic():
        record("first.done")
        thread.start()
        assert locked.wait(10)
        recorded.set()
        type(user).objects.select_for_update().get(pk=user.pk)  # freed by the other's commit, which needs the chain
    thread.join(10)

    assert failures == []
    done = AuditEvent.objects.filter(action__endswith=".done").order_by("seq")
    assert [event.action for event in done] == ["second.done", "first.done"]
