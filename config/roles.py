"""What the application's database role may do. The owner's role makes the tables; the application's only uses them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.utils import CursorWrapper

from config import env

# Tables whose rows stand once written: the application may read and add, never change or remove.
APPEND_ONLY: tuple[str, ...] = ("observability_auditevent", "observability_requestlog")
# Tables that the application only reads; SQL functions of the owner write them.
READ_ONLY: tuple[str, ...] = (
    "gateway_invocation",
    "billing_usageevent",
    "billing_charge",
    "billing_creditgrant",
    "billing_grantuse",
    "billing_ledgeraccount",
    "billing_ledgerentry",
    "billing_ledgertransaction",
)
# Tables of which it may change these columns alone; what a budget has spent and holds is moved by `gateway_batch`.
UPDATABLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "accounts_budget": ('"limit"', "closed_at", "ends_at", "time_zone"),
    "gateway_usageconfirmation": ("compared_at", "gap_nano"),
}


@contextmanager
def as_owner(alias: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Connect as the owner for the time being, to the database that the alias names now (a test's, perhaps)."""
    connection = connections[alias]
    before = dict(connection.settings_dict)
    owner = env.database(settings.DATABASE_OWNER_URL)
    _reconnect(alias, {key: owner[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "OPTIONS")})
    try:
        yield
    finally:
        _reconnect(alias, before)


def _reconnect(alias: str, changes: dict[str, Any]) -> None:
    connection = connections[alias]
    connection.close()
    if isinstance(connection, DatabaseWrapper) and "pool" in connection.settings_dict["OPTIONS"]:
        connection.close_pool()  # its connections belong to the role until now
    connection.settings_dict.update(changes)


def grant_app_role(alias: str = DEFAULT_DB_ALIAS) -> None:
    """Give the application's role its rights on everything that stands, and take back what it must not do.

    To be called as the owner, after every migration. Safe to repeat. Does nothing where one role is both.
    """
    app_role = env.database(settings.DATABASE_URL)["USER"]
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:  # a running site misses no right
        cursor.execute("SELECT current_user")
        if not app_role or cursor.fetchone()[0] == app_role:
            return
        role = connections[alias].ops.quote_name(app_role)
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        for table, is_partition in _tables(cursor):
            cursor.execute(f"REVOKE ALL ON {table} FROM {role}")
            if is_partition:
                continue  # reached through its parent, whose rights count
            rights = "SELECT, INSERT, UPDATE, DELETE"
            if table in READ_ONLY or table == "django_migrations":
                rights = "SELECT"
            elif table in APPEND_ONLY:
                rights = "SELECT, INSERT"
            elif table in UPDATABLE_COLUMNS:
                rights = f"SELECT, INSERT, UPDATE ({', '.join(UPDATABLE_COLUMNS[table])})"
            cursor.execute(f"GRANT {rights} ON {table} TO {role}")
        cursor.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
        for function in _functions(cursor):
            cursor.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
            cursor.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {role}")


def _tables(cursor: CursorWrapper) -> list[tuple[str, bool]]:
    """Our tables, quoted where they must be, and whether each is a partition of another."""
    cursor.execute(
        "SELECT oid::regclass::text, relispartition FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
        " AND relowner = current_user::regrole"
    )
    return cursor.fetchall()


def _functions(cursor: CursorWrapper) -> list[str]:
    """Our functions, with their argument types; those of extensions belong to others."""
    cursor.execute(
        "SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole AND prokind = 'f'"
    )
    return [function for (function,) in cursor.fetchall()]
