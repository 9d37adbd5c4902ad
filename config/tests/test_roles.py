"""What the application's database role may and may not do."""

import pytest
from django.apps import apps
from django.conf import settings
from django.db import ProgrammingError, connection, transaction
from psycopg.errors import InsufficientPrivilege

from config import env, roles

pytestmark = pytest.mark.django_db


def refused(statement: str) -> bool:
    """Whether the database refuses the statement for want of rights."""
    with connection.cursor() as cursor:
        try:
            with transaction.atomic():
                cursor.execute(statement)
        except ProgrammingError as error:
            return isinstance(error.__cause__, InsufficientPrivilege)
    return False


def current_user() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return str(cursor.fetchone()[0])


def test_the_application_is_not_the_owner():
    app, owner = (env.database(url)["USER"] for url in (settings.DATABASE_URL, settings.DATABASE_OWNER_URL))
    assert current_user() == app != owner


def test_it_reads_every_table():
    for model in apps.get_models():
        assert not refused(f'SELECT 1 FROM "{model._meta.db_table}" LIMIT 1')


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id integer)",
        "ALTER TABLE accounts_user ADD mine integer",
        "ALTER TABLE accounts_user DISABLE TRIGGER ALL",
        "DROP TABLE accounts_user",
        "TRUNCATE accounts_user CASCADE",
        "DELETE FROM django_migrations",
        "UPDATE accounts_budget SET spent = 0",
        "UPDATE accounts_budget SET held = 0",
        *(f"DELETE FROM {table}" for table in (*roles.READ_ONLY, *roles.APPEND_ONLY)),
        *(f"UPDATE {table} SET id = id" for table in (*roles.READ_ONLY, *roles.APPEND_ONLY)),
        *(f"INSERT INTO {table} DEFAULT VALUES" for table in roles.READ_ONLY),
    ],
)
def test_it_may_not(statement: str):
    assert refused(statement)


def test_it_may_change_what_is_its_own():
    assert not refused("UPDATE accounts_user SET name = name")
    assert not refused('UPDATE accounts_budget SET "limit" = "limit"')


def test_partitions_are_reached_through_their_parents_only():
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE relispartition AND relkind = 'r'")
        partitions = [row[0] for row in cursor.fetchall()]
    assert partitions
    assert all(refused(f"SELECT 1 FROM {partition}") for partition in partitions[:5])


def test_only_the_application_may_call_our_functions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
            " AND has_function_privilege('public', oid, 'EXECUTE')"
        )
        assert cursor.fetchall() == []


def test_functions_that_act_as_the_owner_have_a_fixed_search_path():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
            " AND NOT EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=%')"
        )
        assert cursor.fetchall() == []


@pytest.mark.django_db(transaction=True)
def test_the_owner_is_borrowed_and_given_back():
    owner = env.database(settings.DATABASE_OWNER_URL)["USER"]
    before = current_user()
    with roles.as_owner():
        assert current_user() == owner
        roles.grant_app_role()  # safe to repeat
    assert current_user() == before
    assert refused("CREATE TABLE mine (id integer)")
