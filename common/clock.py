"""The one clock that rules read: the database's, through the SQL function `clock_now()`.

Services take an instant `at` from their caller and pass it on; whoever starts the chain (a view, a task, a command)
asks `now()` once. Columns called `created_at` are bookkeeping and use the server's clock directly.
"""

from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField, Func


def now() -> datetime:
    """This moment, aware UTC. In tests the setting `agorai.clock_offset` of the database session shifts it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_now()")
        moment: datetime = cursor.fetchone()[0]
    return moment


class ClockNow(Func):
    """`clock_now()` inside a query, so that a read and its clock are one round trip."""

    function = "clock_now"
    output_field = DateTimeField()
