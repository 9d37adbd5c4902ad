"""What the gateway wrote down, held against what callers and endpoint saw. To be imported inside `run`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from gateway import services as gateway
from trust.calls import Confirming, Made, Market
from trust.harness import Context

LATER = "16 minutes"  # than now: whatever has not been heard of since is an orphan


@dataclass(slots=True)
class Row:
    """A call as the database has it."""

    state: str
    rule: str
    cost_nano: int
    error_code: str
    events: int


@dataclass(slots=True)
class Books:
    """What the gateway wrote down, held against what callers and endpoint saw."""

    context: Context
    endpoint: Confirming
    judged: int = 0  # of the calls that were made
    answered: int = 0

    def judge_answers(self, made: list[Made]) -> None:
        """Whatever was answered since the last time is final, and charged as its caller was told."""
        fresh, self.judged = made[self.judged :], len(made)
        answered = [call for call in fresh if call.is_answered]
        self.answered += len(answered)
        rows = read_rows(call.id for call in answered if call.id is not None)
        expect = self.context.expect
        for call in answered:
            row = rows.get(call.id) if call.id is not None else None
            name = f"an answered call ({call.kind})"
            if row is None:
                self.context.violation(f"{name} has no row")
                continue
            finished = self.endpoint.finished.get(call.id) if call.id is not None else None
            if not expect(finished is not None, f"{name} was never finished by the endpoint") or finished is None:
                continue
            due = finished.cost_nano
            expect(row.state == "final", f"{name} is {row.state}")
            expect(row.events == 1, f"{name} has {row.events} usage events of its cost")
            told = f"was told {call.cost_nano} and is due {due}"
            expect(row.cost_nano == due == call.cost_nano, f"{name} cost {row.cost_nano} ({row.rule}), {told}")
        connection.close()  # or it may be killed with the others
        for call in fresh:
            expect(call.status < 500 or call.status in (502, 503, 504), f"a call is answered {call.status}")
            if call.status == 503:
                expect(call.retry_after.isdigit() and int(call.retry_after) > 0, "a 503 does not say when to try again")

    def confirm_some(self, market: Market, url: str) -> None:
        """Of the calls that ended nowhere and were finished, the publisher confirms every other one."""
        for id in open_calls():
            finished = self.endpoint.finished.get(id)
            if finished is not None and id.int % 2:
                status = market.confirm(url, id, finished)
                self.context.expect(status == 200, f"a confirmation of usage is answered {status}")
                self.endpoint.confirmed.add(id)

    def judge_rest(self, *, later: str = LATER) -> int:
        """The sweep ends what was left behind, and the books agree. Returns how many calls that were."""
        ended = sweep(later)
        expect = self.context.expect
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM gateway_invocation WHERE state = 'started'")
            (started,) = cursor.fetchone()
            expect(not started, f"{started} calls are open {later} later")
            cursor.execute("SELECT count(*) FROM gateway_invocation WHERE state = 'final' AND rule = ''")
            (silent,) = cursor.fetchone()
            expect(not silent, f"{silent} calls ended without a reason")
            cursor.execute("SELECT count(*) FROM accounts_budget WHERE held <> 0")
            (held,) = cursor.fetchone()
            expect(not held, f"{held} budgets still hold something")
            cursor.execute('SELECT count(*) FROM accounts_budget WHERE spent > "limit"')
            (over,) = cursor.fetchone()
            expect(not over, f"{over} budgets are overspent")
            cursor.execute("SELECT coalesce(sum(cost_nano), 0) FROM gateway_invocation")
            (cost,) = cursor.fetchone()
            cursor.execute("SELECT coalesce(sum(cost_nano), 0) FROM billing_usageevent")
            (metered,) = cursor.fetchone()
            cursor.execute("SELECT coalesce(sum(spent), 0) FROM accounts_budget WHERE purpose = 'credit'")
            (spent,) = cursor.fetchone()
        expect(cost == metered == spent, f"calls cost {cost}, usage events {metered}, credit spent {spent}")
        for wrong in gateway.check_books():
            self.context.violation(wrong)
        connection.close()
        return ended

    def judge_confirmed(self) -> None:
        """Each call that the endpoint finished has one row, final, and is charged what is due; an orphan that was not
        confirmed what had been noted of it, or nothing."""
        unpaid = 0
        rows = read_rows(self.endpoint.finished)
        for id, finished in self.endpoint.finished.items():
            row, due = rows.get(id), finished.cost_nano
            if not self.context.expect(row is not None, "a call that the endpoint finished has no row") or row is None:
                continue
            right = row.cost_nano == due
            if id not in self.endpoint.confirmed:
                right |= row.rule == "orphan_void" and row.cost_nano == 0
                right |= row.rule == "orphan_progress" and 0 < row.cost_nano <= due
            self.context.expect(right, f"a finished call costs {row.cost_nano} ({row.rule}) in place of {due}")
            unpaid += row.cost_nano == 0
        self.context.worst("confirmed", len(self.endpoint.confirmed))
        self.context.worst("finished", len(rows))
        self.context.worst("finished_and_void", unpaid)


def open_calls() -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM gateway_invocation WHERE state = 'started'")
        return [row[0] for row in cursor.fetchall()]


def read_rows(ids: Iterable[UUID]) -> dict[UUID, Row]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.id, i.state, i.rule, i.cost_nano, i.error_code, (SELECT count(*) FROM billing_usageevent e"
            " WHERE e.id = i.id AND e.cost_nano = i.cost_nano) FROM gateway_invocation i WHERE i.id = ANY (%s)",
            [list(ids)],
        )
        return {row[0]: Row(*row[1:]) for row in cursor.fetchall()}


def sweep(later: str = LATER) -> int:
    """The sweep as it runs so much later. Returns how many calls it ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [later])
    try:
        return gateway.settle_orphans()
    finally:
        connection.close()
