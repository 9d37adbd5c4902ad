"""The request log: what is written of a request to the API, what never is, and that no request waits for it."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from accounts.tests.factories import make_client, make_user
from apikeys.tests.factories import make_key
from common import clock
from common.ids import decode, uuid7
from observability import services
from observability.models import RequestLog
from observability.services import Seen, note_request, requests, write_requests

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_queue():
    services.forget_waiting_requests()
    yield
    services.forget_waiting_requests()


def seen(**changes) -> Seen:
    values = {
        "id": uuid7(),
        "user_id": None,
        "key_id": None,
        "organization_id": None,
        "method": "GET",
        "route": "api:models",
        "status": 200,
        "ms": 1.5,
        "error_code": "",
        "address": "203.0.113.9",
        "client": "curl/8",
    }
    return Seen(**(values | changes))


def test_a_request_to_the_api_leaves_one_row():
    key, secret = make_key(permissions=["models:read", "keys:read"])
    client = make_client(authorization=f"Bearer {secret}", **{"user-agent": "Robot/2 \x00\x1b[31m"})

    response = client.get("/api/keys?limit=5")
    write_requests()

    row = RequestLog.objects.get()
    assert row.id == decode("req", response["x-request-id"])
    assert (row.method, row.route, row.status, row.error_code) == ("GET", "api:keys", 200, "")
    assert (row.actor_user_id, row.actor_key_id, row.organization_id) == (key.user_id, key.id, key.organization_id)
    assert row.address.startswith("10.")
    assert row.client == "Robot/2   [31m"
    assert abs(row.at - clock.now()) < timedelta(minutes=1)


def test_an_error_leaves_its_code():
    client = make_client()
    client.get("/api/keys")
    client.get("/api/nothing")
    client.get("/v1/models")
    client.post("/api/auth/login", b"{", content_type="application/json")
    write_requests()

    assert list(RequestLog.objects.order_by("id").values_list("status", "error_code", "route")) == [
        (401, "not_authenticated", "api:keys"),
        (404, "not_found", ""),
        (401, "not_authenticated", "api:v1-models"),
        (400, "invalid_json", "api:login"),
    ]


def test_pages_leave_none():
    client = make_client()
    client.force_login(make_user())
    for path in ("/", "/keys", "/models", "/api/docs", "/livez"):
        client.get(path)

    assert write_requests() == 0


def test_no_secret_query_or_body_is_written():
    recognizable = ["agr_live_" + "x" * 38, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "sk_live_1234567890"]
    for canary in ["hunter2", *recognizable]:
        told = canary if canary in recognizable else "curl"
        client = make_client(authorization=f"Bearer {canary}", cookie=canary, **{"user-agent": f"tool {told} x"})
        client.get(f"/api/models?q={canary}&{canary}=1")
        client.get(f"/api/models/{canary}:{canary}")
        body = json.dumps({"email": f"{canary}@example.org", "password": canary})
        client.post("/api/auth/login", body, content_type="application/json")
    write_requests()

    text = json.dumps(list(RequestLog.objects.values()), default=str)
    assert RequestLog.objects.count() == 12
    assert [canary for canary in ["hunter2", *recognizable] if canary in text] == []
    assert "tool agr_live_[hidden] x" in text


def test_every_column_holds_what_was_seen_to_its_bounds():
    whole = seen(
        user_id=uuid7(),
        key_id=uuid7(),
        organization_id=uuid7(),
        method="PROPPATCHES",
        route="api:" + "ö" * 60,
        status=599,
        ms=3_000_000.4,
        error_code="e" * 50,
        address="2001:db8::1",
        client="Ä\t\\N\n漢 \ud800",
    )
    bare = seen(route="", client="", address="")
    for one in (whole, bare):
        note_request(one)

    assert write_requests() == 2
    first, second = RequestLog.objects.order_by("id")
    assert (first.actor_user_id, first.actor_key_id) == (whole.user_id, whole.key_id)
    assert first.organization_id == whole.organization_id
    assert (first.method, first.route, first.status, first.ms) == ("PROPPATCHE", "api:" + "ö" * 56, 599, 3_000_000)
    assert (first.error_code, first.address, first.client) == ("e" * 40, "2001:db8::1", "Ä \\N 漢")
    assert first.at.timestamp() * 1000 == whole.id.int >> 80
    assert (second.actor_user_id, second.actor_key_id, second.organization_id) == (None, None, None)
    assert (second.route, second.address, second.client, second.ms) == ("", "", "", 2)


def test_a_full_queue_drops_rows_and_says_how_many(monkeypatch, caplog):
    monkeypatch.setattr(requests, "CAPACITY", 3)
    for _ in range(5):
        note_request(seen())

    assert write_requests() == 3
    assert any("request_log_dropped" in str(entry.msg) and "2" in str(entry.msg) for entry in caplog.records)
    assert RequestLog.objects.count() == 3


def test_rows_wait_while_the_database_is_away(monkeypatch):
    first, second = seen(), seen()
    note_request(first)

    def away(batch):
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(requests, "_copy", away)
        with pytest.raises(OperationalError):
            write_requests()
    note_request(second)

    assert write_requests() == 2
    assert list(RequestLog.objects.order_by("id").values_list("id", flat=True)) == [first.id, second.id]


def test_a_row_of_a_day_without_a_partition_makes_it():
    with connection.cursor() as cursor:
        cursor.execute("SELECT request_log_drop_partitions('2999-01-01')")
    assert partitions() == []
    note_request(seen())

    assert write_requests() == 1
    assert len(partitions()) == 8


@pytest.mark.django_db(transaction=True)
def test_a_thread_writes_what_waits_when_a_process_has_nobody_else(settings, monkeypatch):
    monkeypatch.setattr(requests, "SECONDS", 0.05)
    settings.REQUEST_LOG_THREAD = True
    try:
        note_request(seen())
        (writer,) = [thread for thread in threading.enumerate() if thread.name == "request-log"]
        for _ in range(100):
            if RequestLog.objects.exists():
                break
            threading.Event().wait(0.05)
        assert RequestLog.objects.count() == 1
    finally:
        settings.REQUEST_LOG_THREAD = False
        requests.end_thread()
        services.write_requests_here(False)
    assert not writer.is_alive()


def test_days_before_the_kept_ones_are_dropped(settings):
    settings.REQUEST_LOG_DAYS = 3
    today = clock.now().date()
    with connection.cursor() as cursor:
        cursor.execute("SELECT request_log_create_partitions(%s, 15)", [today - timedelta(days=7)])
    assert partitions()[0] == f"observability_requestlog_{today - timedelta(days=7):%Y%m%d}"

    assert services.rotate_request_log() == 4

    assert partitions()[0] == f"observability_requestlog_{today - timedelta(days=3):%Y%m%d}"
    assert partitions()[-1] == f"observability_requestlog_{today + timedelta(days=7):%Y%m%d}"
    assert services.rotate_request_log() == 0


def partitions() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'observability_requestlog'::regclass ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "organization_id"),
        ({"status__gte": 400, "status__lt": 500}, "organization_id"),
        ({"route": "api:keys"}, "organization_id"),
        ({"actor_key_id": uuid7()}, "actor_key_id"),
    ],
)
def test_what_owners_ask_reads_an_index_of_the_days_asked_for(filters, index):
    organization = uuid7()
    for number in range(2000):
        note_request(seen(organization_id=uuid7() if number % 20 else organization, status=200 if number % 9 else 404))
    write_requests()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE observability_requestlog")
    day = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    rows = RequestLog.objects.of_organization(organization).since(day).before(day + timedelta(days=1)).filter(**filters)

    plan = rows.order_by("-id")[:21].explain()

    assert f"observability_requestlog_{day:%Y%m%d}" in plan
    assert plan.count("observability_requestlog_2") <= 3  # the one day, with its index
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
    assert f"({index} = " in plan or f"{index} = " in plan
