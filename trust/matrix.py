"""T21 tries each cell of its matrix. To be imported in `run`."""

from __future__ import annotations

from collections.abc import Callable

from trust.cases import Case, cases_of, first_difference, plain
from trust.door import Door, Reply, Rows, differences
from trust.harness import Context
from trust.http import Answer, burst
from trust.parallel import share
from trust.people import Caller, Town
from trust.places import Place, places
from trust.references import Reference, references

LIVE_AT_ONCE = 16
#: Rows that belong to asking itself.
OF_ASKING = ("accounts_refreshfamily", "accounts_refreshtoken")


class Matrix:
    def __init__(self, context: Context, town: Town) -> None:
        self.context, self.town = context, town
        self.door = Door(context.ground)
        self.before: Rows = {}

    def run(self) -> None:
        self.door.warm(self.town)
        known: list[Place] = []
        for name, place in places():
            if self.context.expect(place is not None, f"{name} has no policy") and place is not None:
                known.append(place)
        tasks: list[Callable[[], None]] = [lambda place=place: self._try_place(place) for place in known]  # type: ignore[misc]
        share(self.context, [self._try_references, *tasks])
        self._try_live([case for place in known if place.is_gateways for case in self._cases(place) if case.is_live])

    def _cases(self, place: Place) -> list[Case]:
        found = list(cases_of(place, self.town, is_full=self.context.is_full))
        for unknown in found:
            if isinstance(unknown, str):
                self.context.violation(unknown)
        return [case for case in found if isinstance(case, Case)]

    # --- In this process ---

    def _try_place(self, place: Place) -> None:
        self.before = self.door.begin()
        for case in self._cases(place):
            if not case.is_live:
                self._try(case)

    def _try(self, case: Case) -> None:
        self.context.count()
        with self.door.undone():
            reply = self._send(case, case.path)
            self._judge(case, reply, reply.fault)
            if not case.is_open and reply.has_written:
                self._judge_writes(case)
        if case.twin:
            self.context.count()
            with self.door.undone():
                missing = self._send(case, case.twin)
            self._compare(str(case), reply, missing, case.words)

    def _send(self, case: Case, path: str) -> Reply:
        return self.door.send(case.method, path, case.caller, is_api=case.place.is_api, body=case.body)

    def _judge(self, case: Case, answer: Answer, fault: str = "") -> None:
        expect, right = self.context.expect, sorted(case.statuses)
        expect(answer.status < 500, f"{case}: {answer.status} {fault or answer}")
        expect(answer.status in case.statuses, f"{case}: {answer.status}, not {right}: {_words(answer)}")
        self._judge_words(str(case), case.caller, answer)

    def _judge_words(self, what: str, caller: Caller, answer: Answer) -> None:
        if caller.is_staff:
            return
        for house in (self.town.ours, self.town.theirs):
            if caller.house is not house or caller.is_bad:
                leaked = [mark.decode() for mark in house.marks if mark in answer.body]
                self.context.expect(not leaked, f"{what}: the answer holds {', '.join(leaked)}, which is another's")

    def _judge_writes(self, case: Case) -> None:
        changes = differences(self.before, self.door.rows())
        changed = sorted({f"{table}.{column}" for table, column, _key in changes if table not in OF_ASKING})
        self.context.expect(not changed, f"{case}: it was refused, and changed {', '.join(changed[:8])}")

    def _compare(self, what: str, hidden: Answer, missing: Answer, words: list[tuple[str, str]]) -> None:
        pair = [plain(one, words) for one in (hidden, missing)]
        statuses = f"{hidden.status} for what is hidden, {missing.status} for what is missing"
        same = hidden.status == missing.status and pair[0] == pair[1]
        self.context.expect(same, f"{what}: {statuses}: {first_difference(*pair)}")

    # --- Things that are named in a query, a body or a header instead of the address ---

    def _try_references(self) -> None:
        self.before = self.door.begin()
        for reference in references(self.town):
            hidden, missing = self._refer(reference, 0), self._refer(reference, 1)
            self._compare(str(reference), hidden, missing, [reference.words])

    def _refer(self, reference: Reference, number: int) -> Reply:
        sent = (reference.there, reference.nowhere)[number]
        self.context.count()
        with self.door.undone():
            reply = self.door.send(
                reference.method,
                sent.path,
                reference.caller,
                is_api=reference.is_api,
                body=sent.body,
                **sent.headers,
            )
        self.context.expect(reply.status < 500, f"{reference}: {reply.status} {reply.fault}")
        self._judge_words(str(reference), reference.caller, reply)
        return reply

    # --- By a running process: what the gateway answers ---

    def _try_live(self, cases: list[Case]) -> None:
        web = self.context.ground.webs(1)[0]
        for number in range(0, len(cases), LIVE_AT_ONCE):
            part = cases[number : number + LIVE_AT_ONCE]
            asked = [case.request(web.url, path) for case in part for path in (case.path, case.twin or case.path)]
            answers = burst(asked)
            self.context.count(len(answers))
            for case, answer, twin in zip(part, answers[::2], answers[1::2], strict=True):
                self._judge(case, answer)
                if case.twin:
                    self._compare(str(case), answer, twin, case.words)


def _words(answer: Answer) -> str:
    """The problem's own words."""
    try:
        return str(answer.json.get("errors") or answer.json.get("detail") or answer.json)[:200]
    except (ValueError, AttributeError):
        return ""
