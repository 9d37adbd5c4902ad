"""One statement, asked over and over on a connection of its own."""

import asyncio

import psycopg
import pytest
from django.conf import settings

from gateway.hotpath.prepared import Prepared

pytestmark = pytest.mark.usefixtures("database")


def with_prepared(statement, scenario):
    async def main():
        prepared = await Prepared.connect(settings.DATABASE_URL, statement, options="")
        try:
            return await scenario(prepared)
        finally:
            await prepared.close()

    return asyncio.run(main())


def test_what_a_socket_does_not_take_at_once_arrives():
    sent = bytes(range(256)) * 40_000
    assert with_prepared("SELECT $1::bytea, 'x'::text", lambda prepared: prepared.run([sent])) == [sent, b"x"]


def test_a_statement_that_fails_leaves_the_connection_well():
    async def scenario(prepared):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await prepared.run([b"\0\0\0\0"])
        with pytest.raises(psycopg.errors.UndefinedColumn):
            await prepared.query("SELECT nothing", ())
        assert await prepared.query("SELECT %s + 1", [1]) == [(2,)]
        return await prepared.run([b"\0\0\0\x02"])

    assert with_prepared("SELECT 6 / $1::integer", scenario) == [b"\0\0\0\x03"]


def test_a_statement_that_cannot_be_prepared_leaves_no_connection():
    def sessions() -> int:
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as other:
            return other.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaves'").fetchone()[
                0
            ]

    async def scenario():
        with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
            await Prepared.connect(settings.DATABASE_URL, "SELECT nothing", options="-c application_name=leaves")
        async with asyncio.timeout(5):
            while sessions():
                await asyncio.sleep(0.02)
        return caught  # what it keeps alive included

    asyncio.run(scenario())


def test_a_server_that_hangs_up_is_noticed_while_nothing_is_asked():
    async def scenario(prepared):
        ((pid,),) = await prepared.query("SELECT pg_backend_pid()", ())
        assert not prepared.closed
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        async with asyncio.timeout(5):
            while not prepared.closed:
                await asyncio.sleep(0.01)

    with_prepared("SELECT 1", scenario)


def test_a_server_that_hangs_up_under_way_breaks_the_run():
    async def scenario(prepared):
        ((pid,),) = await prepared.query("SELECT pg_backend_pid()", ())
        running = asyncio.create_task(prepared.run([]))
        await asyncio.sleep(0.05)
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(psycopg.OperationalError):
            await running

    with_prepared("SELECT pg_sleep(10)::text", scenario)


def test_what_nobody_waits_for_any_more_is_not_done():
    async def scenario(prepared):
        ((pid,),) = await prepared.query("SELECT pg_backend_pid()", ())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await prepared.run([])
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as other:
            for _ in range(100):
                found = other.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
                if found != ("active",):
                    return
                await asyncio.sleep(0.02)
        raise AssertionError("it is still at it")

    with_prepared("SELECT pg_sleep(10)::text", scenario)
