"""A call survives whatever is killed around it: it is recorded and charged once, or not at all, and says why.

A trial is a call, answered at once or as a stream, of an endpoint that writes each answer it finished to the disk.
Among every hundred or so of them something is killed at some moment: a gateway process, both of them, one while its
ledger stands still, the worker in the middle of its sweep, sessions of the database. Or all gateways are stopped, taken
for dead, and go on. Then callers rest: whatever was answered must be in the books by then; the sweep of sixteen minutes
later ends the rest, some of which the publisher has confirmed by then, and the books must agree.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import psycopg

from trust.harness import Context, Result, Trial
from trust.registry import Sabotage
from trust.zygote import Forked, Zygote

if TYPE_CHECKING:
    from trust.calls import Load, Market
    from trust.reckoning import Books

GATEWAYS = 2
PER_KILL, PER_KILL_OF_FULL = 100, 66  # calls
HELD_BY_OTHERS_NANO = 10**9
TURNS = ("gateway", "sessions", "gateway with its ledger", "worker", "all gateways", "gateway", "sessions", "asleep")

BATCH = "gateway/migrations/0012_a_batch_that_says_once_what_its_calls_share.py"

SABOTAGES = (
    Sabotage(
        "a settlement whatever the state",
        BATCH,
        """     WHERE c.id = ANY (s_id) AND c.id BETWEEN oldest AND newest AND c.state = 'started'
    RETURNING c.id, c.organization_id, c.publisher_id, c.ai_model_id, c.version_id, c.price_id, c.mode, c.input_tokens,
              c.output_tokens, c.cost_nano, c.hold_nano, c.budget_ids
  ), metered AS (
    INSERT INTO billing_usageevent (id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode,
                                    input_tokens, output_tokens, cost_nano, occurred_at)
    SELECT id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode, input_tokens, output_tokens,
           cost_nano, at FROM settled
""",
        """     WHERE c.id = ANY (s_id) AND c.id BETWEEN oldest AND newest
    RETURNING c.id, c.organization_id, c.publisher_id, c.ai_model_id, c.version_id, c.price_id, c.mode, c.input_tokens,
              c.output_tokens, c.cost_nano, c.hold_nano, c.budget_ids
  ), metered AS (
    INSERT INTO billing_usageevent (id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode,
                                    input_tokens, output_tokens, cost_nano, occurred_at)
    SELECT id, organization_id, publisher_id, ai_model_id, version_id, price_id, mode, input_tokens, output_tokens,
           cost_nano, at FROM settled ON CONFLICT DO NOTHING
""",
    ),
    Sabotage(
        "an answer before its settlement",
        "gateway/hotpath/call.py",
        "        await self.settle(call, settle)\n",
        "        asyncio.ensure_future(self.settle(call, settle))\n",
    ),
    Sabotage(
        "an answer before the commit",
        "gateway/hotpath/prepared.py",
        "            await prepared._result()\n",
        "            await prepared._result()\n            await connection.execute('BEGIN')\n"
        "            prepared._listens = False\n            prepared._listen()\n",
    ),
    Sabotage(
        "an answer whatever its receipt says",
        "gateway/hotpath/call.py",
        "        if not was_open:  # its receipt says something else than this answer would\n"
        "            raise _withheld()\n",
        "",
    ),
    Sabotage(
        "what a publisher confirmed is not looked at",
        "gateway/services/orphans.py",
        "prices.get(call.price_id), confirmations.get(call.id)) for call in calls]",
        "prices.get(call.price_id), None) for call in calls]",
    ),
)


def run(context: Context) -> Result:
    from trust.calls import Confirming, Load, Market
    from trust.reckoning import Books

    ground = context.ground
    with ground.another_database(), Zygote(ground.given(), ground.directory / "log" / "forked.log") as zygote:
        endpoint = Confirming(ground)
        books = Books(context, endpoint)
        market = Market.open(ground)
        storm = Storm(context, zygote, books, market)
        with Load(market, storm.urls) as load:
            load.go()
            per = PER_KILL_OF_FULL if context.is_full else PER_KILL
            for turn, trial in enumerate(context.each(per=per)):
                storm.make(load, trial, TURNS[turn % len(TURNS)])
        books.judge_confirmed()
        context.worst("orphans", storm.orphans)
        context.worst("answered", books.answered)
        endpoint.close()
    return context.result()


class Storm:
    """The processes, and what befalls them."""

    def __init__(self, context: Context, zygote: Zygote, books: Books, market: Market) -> None:
        self._context, self._zygote, self._books, self._market = context, zygote, books, market
        self._gateways = [zygote.start_web(wait=False) for _ in range(GATEWAYS)]
        self.urls = [gateway.url for gateway in self._gateways]
        self.orphans = 0
        for gateway in self._gateways:
            zygote.wait_until_ready(gateway)

    def make(self, load: Load, trial: Trial, kind: str) -> None:
        """A trial's calls, with one calamity among them."""
        random, first = trial.random, load.begun
        self._market.refill(self._context.ground.owner_url)
        load.go()
        load.wait(first + random.randint(trial.size // 10, trial.size // 2))
        time.sleep(0.03 * random.random())
        match kind:
            case "gateway":
                self._kill(random.choice(self._gateways))
            case "all gateways":
                self._kill(*self._gateways)
            case "gateway with its ledger":
                with self._locked_budgets():
                    time.sleep(0.1 + 0.1 * random.random())
                    self._kill(random.choice(self._gateways), wait=False)
            case "sessions":
                self._end_sessions(random)
            case "worker":
                self._kill(random.choice(self._gateways))  # so that there is something to sweep
            case "asleep":
                self._doze()
        load.wait(first + trial.size)
        load.rest()
        if kind == "asleep":
            self._hold(-HELD_BY_OTHERS_NANO)
        self._books.judge_answers(load.made)
        self._books.confirm_some(self._market, random.choice(self.urls))
        if kind == "worker":
            self._kill_a_worker(random)
        self.orphans += self._books.judge_rest()

    def _kill(self, *gateways: Forked, wait: bool = True) -> None:
        """Two at the same instant, if they are two; others take their places."""
        for gateway in gateways:
            gateway.kill()
        for gateway in gateways:
            gateway.wait(5)
            self._gateways[self._gateways.index(gateway)] = fresh = self._zygote.start_web(gateway.port, wait=False)
            if wait:
                self._zygote.wait_until_ready(fresh)

    def _doze(self) -> None:
        """No process was heard of for so long that its calls count as orphans; then all go on as if nothing were."""
        from trust.reckoning import sweep

        for gateway in self._gateways:
            gateway.send(signal.SIGSTOP)
        try:
            self.orphans += sweep()
            self._hold(HELD_BY_OTHERS_NANO)
        finally:
            for gateway in self._gateways:
                gateway.send(signal.SIGCONT)

    def _hold(self, nano: int) -> None:
        """Calls elsewhere hold so much more of every budget. Whatever is given back twice would be theirs."""
        statement = "UPDATE accounts_budget SET held = greatest(held + %s, 0)"
        self._context.ground.execute(statement, [nano])

    def _kill_a_worker(self, random: Random) -> None:
        from trust.reckoning import LATER

        offset = LATER.replace(" ", "\\ ")
        worker = self._zygote.start_worker(PGOPTIONS=f"-c agorai.clock_offset={offset}")
        time.sleep(1.2 * random.random())
        worker.kill()
        worker.wait(5)

    def _end_sessions(self, random: Random) -> None:
        """One session of the application's role, or each of them."""
        ground = self._context.ground
        found = ground.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'agorai_app'",
            superuser=True,
        )
        pids = [pid for (pid,) in found]
        for pid in pids if random.random() < 0.5 else random.sample(pids, min(1, len(pids))):
            ground.execute("SELECT pg_terminate_backend(%s)", [pid], superuser=True)

    @contextmanager
    def _locked_budgets(self) -> Iterator[None]:
        """Somebody else holds the budgets, so that whatever moves them waits."""
        with psycopg.connect(self._context.ground.owner_url) as other:
            other.execute("SELECT FROM accounts_budget FOR UPDATE")
            yield
