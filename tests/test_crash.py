"""The machine loses power, or somebody kills what must not be killed: no answered call loses its receipt."""

import json
import os
import signal
import threading
import time
from http.client import HTTPException

import psycopg
import pytest

from tests.client import Client
from tests.test_up import Launcher, started, var, wait_until_gone  # noqa: F401 fixtures

pytestmark = pytest.mark.slow

CALLS_PER_SECOND = 20
SECONDS_UNTIL_THE_KILL = 6


def test_killed_with_9_under_load_every_answered_call_has_its_settled_row(var, started):  # noqa: F811
    first = Launcher(var, PORT="28000")
    started.append(first)
    url = first.wait_until_running()
    demo = json.loads((var / "demo.json").read_text())
    answered: list[str] = []
    stop = threading.Event()

    def call(number: int) -> None:
        client = Client(url, demo["api_key"])
        began = time.monotonic() + number / CALLS_PER_SECOND
        while not stop.is_set():
            time.sleep(max(0, began - time.monotonic()))
            began += 1
            try:
                answer = client.post("/api/models/demo:language-id/invoke", {"text": "Guten Tag, wie geht es Ihnen?"})
            except (OSError, HTTPException):
                continue  # the connection broke: not answered
            if answer.status == 200:
                answered.append(answer.headers["x-request-id"])

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(CALLS_PER_SECOND)]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS_UNTIL_THE_KILL)
    pids = first.pids()
    os.kill(first.process.pid, signal.SIGKILL)
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join(60)
    first.process.wait(10)
    assert len(answered) >= CALLS_PER_SECOND * (SECONDS_UNTIL_THE_KILL - 2), "the load was real"

    second = Launcher(var, PORT="28000")
    started.append(second)
    client = Client(second.wait_until_running(), demo["api_key"])
    wait_until_gone(pids - second.pids())
    receipts = [client.get(f"/v1/requests/{id}") for id in answered]
    lost = [answer for answer in receipts if answer.status != 200 or answer.json["state"] != "final"]
    assert lost == []
    assert {answer.json["cost"]["amount"] for answer in receipts} == {"0.001"}
    owner = next(
        line.removeprefix("DATABASE_OWNER_URL=")
        for line in (var / "run" / "environment").read_text().splitlines()
        if line.startswith("DATABASE_OWNER_URL=")
    )
    with psycopg.connect(owner) as connection:
        wrong = connection.execute(
            "SELECT b.id FROM accounts_budget b WHERE b.spent <> coalesce((SELECT sum(i.cost_nano)"
            " FROM gateway_invocation i WHERE b.id = ANY (i.budget_ids)), 0)"
        ).fetchall()
    assert wrong == []
