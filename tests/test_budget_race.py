"""Two gateway processes, one spend limit: the database decides, so nobody overspends."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg

from tests.client import Client, make_key, sign_up

CALLS, AFFORDED = 200, 10


def test_200_concurrent_calls_on_a_limit_that_affords_10(stack):
    person = sign_up(stack, "race@example.org")
    key = make_key(
        person,
        spend_limit={"amount": "0.010", "currency": "USD", "window": "lifetime"},
        rate_limit=100_000,
    )
    gateways = [stack.url, stack.start_gateway()]
    ready = Barrier(CALLS)

    def call(number: int) -> int:
        client = Client(gateways[number % 2], key.credential)
        ready.wait(60)
        return client.post("/api/models/demo:language-id/invoke", {"text": "Bonjour tout le monde"}).status

    with ThreadPoolExecutor(CALLS) as threads:
        statuses = list(threads.map(call, range(CALLS)))
    assert sorted(set(statuses)) == [200, 402], statuses
    assert statuses.count(200) == AFFORDED
    assert statuses.count(402) == CALLS - AFFORDED
    shown = next(row for row in person.get("/api/keys").json["data"] if key.credential.startswith(row["prefix"]))
    assert shown["spend_limit"]["amount"] == "0.01"
    with psycopg.connect(stack.owner_url) as connection:
        rows = connection.execute(
            "SELECT b.spent, b.held FROM accounts_budget b JOIN apikeys_apikey k ON k.id = b.subject_id"
            " WHERE k.prefix = %s",
            [shown["prefix"]],
        ).fetchall()
    assert rows == [(AFFORDED * 1_000_000, 0)]
