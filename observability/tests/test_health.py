import pytest
from django.db import connection
from django.test import Client

from observability import services

pytestmark = pytest.mark.django_db


def test_alive_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        response = Client().get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_names_every_part_and_how_long_it_took():
    response = Client().get("/readyz")

    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response["Cache-Control"] == "no-store"
    checks = response.json()["checks"]
    assert list(checks) == ["database", "redis", "migrations"]
    assert all(check["ok"] and check["ms"] >= 0 for check in checks.values())


@pytest.mark.parametrize("address", ["/livez", "/readyz"])
def test_probes_come_by_address_and_not_by_name(address):
    response = Client().get(address, HTTP_HOST="10.0.0.7:8000")

    assert response.status_code == 200
    assert response["x-request-id"]


def test_without_redis_it_is_not_ready(settings):
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    services.health._redis.cache_clear()
    try:
        response = Client().get("/readyz")
    finally:
        services.health._redis.cache_clear()

    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"]["redis"]["ok"] is False
    assert response.json()["checks"]["database"]["ok"] is True


def test_an_unapplied_migration_makes_it_not_ready(monkeypatch):
    monkeypatch.setattr(services.health, "_migrated", False)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE django_migrations (LIKE public.django_migrations)")  # hides the real one
    try:
        assert Client().get("/readyz").json()["checks"]["migrations"]["ok"] is False
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE pg_temp.django_migrations")
    assert Client().get("/readyz").json()["checks"]["migrations"]["ok"] is True


def test_what_is_wrong_stays_in_the_log(settings):
    settings.REDIS_URL = "redis://user:hunter2@127.0.0.1:1/0"
    services.health._redis.cache_clear()
    try:
        answer = Client().get("/readyz").content.decode()
    finally:
        services.health._redis.cache_clear()

    assert "hunter2" not in answer
    assert "127.0.0.1" not in answer
