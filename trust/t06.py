"""Without PostgreSQL nothing that was acknowledged is lost or made twice, and soon after it is back calls go on.

A trial is one mishap under load on two processes, with servers as an installation runs them: every process of
PostgreSQL is killed and comes back, in one of the kinds with Valkey beside it; one session is killed, after which
PostgreSQL starts again by itself; or the answer to a commit is lost with its connection, once or more often, so that
the gateway cannot know whether it was made. Until it is back calls are refused with a time to try again.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import psycopg

from config.cluster import Cluster
from config.servers import APP_ROLE, OWNER_ROLE, SUPERUSER, quote_path
from trust.harness import Context, Result, Trial
from trust.registry import Sabotage
from trust.wire import Wire

if TYPE_CHECKING:
    from trust.calls import Load, Made
    from trust.ground import Ground
    from trust.reckoning import Books

PROCESSES = 2
KINDS = ("answers lost", "killed", "one session killed", "killed, and Valkey too", "answers lost")
LONG_SECONDS = 6.5  # longer than a batch is tried again, and than whoever only reads waits
RECOVERY_SECONDS = 10.0
CODES = {"ledger_unavailable", "service_unavailable"}

SABOTAGES = (
    Sabotage(
        "tried again with a fresh id",
        "gateway/hotpath/money.py",
        "                pause, repeated = min(pause * 2, 1.0), True\n",
        "                pause, repeated = min(pause * 2, 1.0), True\n"
        "                fresh = __import__('common.ids').ids.uuid7\n"
        "                reserves = [reserve._replace(id=fresh()) for reserve in reserves]\n",
    ),
    Sabotage(
        "committed in memory alone",
        "gateway/hotpath/money.py",
        "-c synchronous_commit=on",
        "-c synchronous_commit=off",
    ),
    Sabotage(
        "an answer that was lost is not asked for again",
        "gateway/hotpath/money.py",
        "RETRY_SECONDS = 5.0\n",
        "RETRY_SECONDS = 0.0\n",
    ),
)


def run(context: Context) -> Result:
    from trust.calls import Confirming, Load, Market
    from trust.own import own_cluster, socket_of
    from trust.reckoning import Books

    ground = context.ground
    with ground.another_database():
        market = Market.open(ground)
        with (
            own_cluster(ground) as cluster,
            Wire(socket_of(cluster.postgresql.sockets), ".s.PGSQL.5432") as wire,
            _django_at(ground, cluster),
        ):
            webs = ground.start_webs(
                PROCESSES,
                DATABASE_URL=f"postgres://{APP_ROLE}@{quote_path(wire.directory)}/{ground.database}",
                REDIS_URL=cluster.valkey.url(),
            )
            endpoint = Confirming(ground, slowest_seconds=0.05)
            books = Books(context, endpoint)
            with Load(market, [web.url for web in webs], callers=8, pause_seconds=0.005) as load:
                mishaps = Mishaps(context, cluster, wire, books, load)
                for turn, trial in enumerate(context.each()):
                    mishaps.make(KINDS[turn % len(KINDS)], trial)
            books.judged = 0  # no later mishap may have taken what was there after an earlier one
            books.judge_answers(load.made)
            books.judge_confirmed()
            context.worst("answered", books.answered / 2)
            context.worst("answers_lost", wire.swallowed)
            endpoint.close()
            ground.stop_webs(keep_pools=True)
    return context.result()


@contextmanager
def _django_at(ground: Ground, cluster: Cluster) -> Iterator[None]:
    """This process reads the copy."""
    from django.db import connections

    settings = connections.settings["default"]
    before = settings["HOST"]
    connections.close_all()
    settings["HOST"] = str(cluster.postgresql.sockets)
    try:
        yield
    finally:
        connections.close_all()
        settings["HOST"] = before


class Mishaps:
    """What befalls PostgreSQL, and what must hold then."""

    def __init__(self, context: Context, cluster: Cluster, wire: Wire, books: Books, load: Load) -> None:
        self._context, self._cluster, self._wire, self._books, self._load = context, cluster, wire, books, load
        self._market = load.market
        self._database = context.ground.database

    def make(self, kind: str, trial: Trial) -> None:
        load, random = self._load, trial.random
        self._market.refill(self._cluster.postgresql.url(OWNER_ROLE, self._database))
        first = len(load.made)
        load.go()
        load.wait(load.begun + 40 + random.randint(0, 40))
        began = time.monotonic()
        match kind:
            case "answers lost":
                self._lose_answers(random)
            case "killed":
                self._kill(away_seconds=LONG_SECONDS)
            case "killed, and Valkey too":
                self._kill(away_seconds=0.2 + 2 * random.random(), with_valkey=True)
            case "one session killed":
                self._kill_one_session(random)
        self._await_recovery(kind, back=time.monotonic())
        load.rest()
        self._judge(kind, load.made[first:], began)

    # --- What is done ---

    def _lose_answers(self, random: Random) -> None:
        for times in (1, random.randint(1, 3)):
            before = self._wire.swallowed
            self._wire.swallow(times)
            deadline = time.monotonic() + RECOVERY_SECONDS
            while self._wire.swallowed < before + times and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(0.1 * random.random())

    def _kill(self, *, away_seconds: float, with_valkey: bool = False) -> None:
        from trust.own import kill_all, servers_of

        cluster = self._cluster
        if with_valkey and cluster.valkey.process is not None:
            os.kill(cluster.valkey.process.pid, signal.SIGKILL)
            cluster.valkey.process.wait()
        kill_all(servers_of(cluster))
        if cluster.postgresql.process is not None:
            cluster.postgresql.process.wait()
        time.sleep(away_seconds)
        if with_valkey:
            cluster.valkey.start()
        cluster.postgresql.start()

    def _kill_one_session(self, random: Random) -> None:
        """As the kernel does when it is short of memory. PostgreSQL then ends all others and recovers."""
        with psycopg.connect(self._cluster.postgresql.url(SUPERUSER, self._database), autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE usename = %s AND query LIKE '%%gateway_batch%%' ORDER BY pid",
                [APP_ROLE],
            ).fetchall()
        os.kill(random.choice(found)[0], signal.SIGKILL)
        time.sleep(0.05)
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self._cluster.postgresql.url(SUPERUSER, self._database)).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)

    # --- What must hold ---

    def _await_recovery(self, kind: str, *, back: float) -> None:
        """Each process answers both dialects again."""
        wanted = {(url, call) for url in self._load.urls for call in ("unary", "stream", "json")}
        good: dict[tuple[str, str], float] = {}
        while len(good) < len(wanted) and time.monotonic() < back + RECOVERY_SECONDS:
            time.sleep(0.02)
            for made in self._load.made[-200:]:
                if made.is_answered and made.ended > back:
                    good.setdefault((made.url, made.kind), made.ended)
        self._context.expect(len(good) == len(wanted), f"{kind}: {sorted(wanted - set(good))} do not answer again")
        if good:
            seconds = max(0.0, max(good.values()) - back)
            self._context.worst("recovery_seconds", seconds)
            if kind == "killed, and Valkey too":
                self._context.worst("recovery_from_both_seconds", seconds)

    def _judge(self, kind: str, made: list[Made], began: float) -> None:
        expect = self._context.expect
        for call in made:
            if call.status == 402:  # the key that has little left
                continue
            expect(call.status in (200, 503), f"{kind}: a call is answered {call.status} {call.code}")
            expect(call.is_answered or call.code in CODES, f"{kind}: a call ends with {call.status} {call.code!r}")
        refused = sum(call.status == 503 for call in made)
        self._context.worst("refused", refused)
        if kind == "killed":
            expect(refused > 0, f"{kind}: nothing was refused meanwhile")
        self._books.judge_answers(self._load.made)
        self._expect_each_once(kind)
        orphans = self._books.judge_rest()
        self._context.worst("orphans", orphans)
        if kind == "answers lost":
            expect(refused == 0, f"{kind}: {refused} calls are refused")
            expect(not orphans, f"{kind}: {orphans} calls are left behind")

    def _expect_each_once(self, kind: str) -> None:
        """No row that nobody called for, and no call that was sent twice."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM gateway_invocation")
            rows = {row[0] for row in cursor.fetchall()}
        strange = rows - {call.id for call in self._load.made}
        self._context.expect(not strange, f"{kind}: {len(strange)} rows of calls that nobody made")
        twice = [id for id, times in Counter(self._books.endpoint.asked).items() if times > 1]
        self._context.expect(not twice, f"{kind}: {len(twice)} calls were sent to the endpoint twice")
