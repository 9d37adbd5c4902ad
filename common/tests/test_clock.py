from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from common import clock


@pytest.mark.django_db
def test_the_clock_is_the_databases_and_can_be_shifted():
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert clock.now().utcoffset() == timedelta(0)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL agorai.clock_offset = '31 days'")
    assert abs(clock.now() - datetime.now(UTC) - timedelta(days=31)) < timedelta(minutes=1)
