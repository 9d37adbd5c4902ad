"""A database, an upstream and settings for the tests of one module in which the gateway runs."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.conf import settings as configured
from django.db import connections
from django.test import override_settings

from gateway.tests.upstream import FakeUpstream


@pytest.fixture(scope="module")
def database(cluster, django_db_setup, django_db_blocker):
    """The tests of this module share a database: what they write is committed, so it is thrown away behind them."""
    name = configured.DATABASES["default"]["NAME"]
    with django_db_blocker.unblock():
        yield cluster.postgresql.url("postgres", name)
        connections.close_all()
        cluster.clone(name)


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream() as found:
        yield found


@pytest.fixture(scope="module")
def settings_of_module(upstream):
    with override_settings(
        WELCOME_CREDIT=Decimal("5.00"),
        API_RATE_PER_MINUTE=100_000,
        OUTBOUND_ALLOWED_NETWORKS=[f"127.0.0.1/32:{upstream.port}"],
        OUTBOUND_ALLOW_HTTP=True,
    ):
        yield
