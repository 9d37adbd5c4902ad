"""A call is held by every budget that applies, key, deployment, organization and credit, or by none of them; who asks
for the same budgets in another order waits, and is never turned away for it.

A trial is one reserve. Fifty workers, each on a connection of its own as a gateway process is, send batches of reserves
and settles whose budgets stand in a random order, and let some holds grow; every other round begins in a new window. In
the pauses what each budget holds must be what the open calls hold, by our own count and by the rows. Then calls by a
deployment's name, at two running processes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from trust.harness import Context, Result, Trial
from trust.registry import Sabotage

if TYPE_CHECKING:
    from gateway.hotpath.prepared import Prepared
    from gateway.services.calls import Reserve, Settle

PER, WORKERS = 200, 50
ORGANIZATIONS, KEYS, DEPLOYMENTS = 3, 12, 9
HOLDS = (1, 7, 20, 50)  # nano-units
GROWING = 0.2  # of the batches are followed by a hold that grows
PRICE_NANO = 1_000_000  # of one call over HTTP
FITS = {"deployment": 12, "key": 17, "organization": 21}  # calls
BATCH = "gateway/migrations/0012_a_batch_that_says_once_what_its_calls_share.py"

SABOTAGES = (
    Sabotage(
        "rows are locked in the order in which they are asked for",
        BATCH,
        "FROM moves GROUP BY budget ORDER BY budget) d",
        "FROM moves GROUP BY budget ORDER BY array_position(w_budget, budget)) d",
    ),
    Sabotage(
        "one budget of several is not looked at",
        BATCH,
        "      FOR j IN one.first .. one.last LOOP\n        IF (room",
        "      FOR j IN one.first + 1 .. one.last LOOP\n        IF (room",
    ),
    Sabotage(
        "what refused goes on holding",
        BATCH,
        "b SET held = b.held - d.refused\n",
        "b SET held = b.held\n",
    ),
    Sabotage(
        "a neighbour that was refused takes room",
        BATCH,
        "        refused_by := refused_by || blocker;\n        CONTINUE;\n",
        "        refused_by := refused_by || blocker;\n",
    ),
    Sabotage(
        "what a batch frees is counted as free twice",
        BATCH,
        "RETURNING d.adds = 0 OR b.spent + b.held <=",
        "RETURNING d.adds = 0 OR b.spent + b.held - d.frees <=",
    ),
    Sabotage(
        "a deployment's budget is left out",
        "gateway/hotpath/whats.py",
        "(*caller.budget_ids, *deployment.budget_ids)",
        "caller.budget_ids",
    ),
)


def run(context: Context) -> Result:
    with context.ground.another_database():
        city = City.build(context.random)
        with asyncio.Runner() as runner:
            connections = runner.run(_connect(context.ground.database_url))
            for trial in context.each(per=PER):
                if trial.number // PER % 2:
                    city.turn_windows(trial.number)
                runner.run(_round(context, city, trial, connections))
                city.judge(context, trial)
            runner.run(_hang_up(connections))
        city.fill_up(context)
    if context.shard[0] == 1:
        _over_http(context)
    return context.result()


# --- Budgets ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Open:
    """A call that was admitted. `subjects`: whose budgets hold it."""

    reserve: Reserve
    subjects: tuple[UUID, ...]


@dataclass(slots=True)
class City:
    """Keys and deployments of some organizations. What they hold and have spent, as we count it, by subject."""

    organizations: list[UUID]
    keys: dict[UUID, UUID]  # and whose each is
    deployments: dict[UUID, UUID]
    budgets: dict[UUID, list[UUID]] = field(default_factory=dict)  # as a process remembers them, perhaps from before
    open: list[Open] = field(default_factory=list)
    spent: Counter[UUID] = field(default_factory=Counter)
    offset: str = ""  # of the clock

    @classmethod
    def build(cls, random: Random) -> City:
        from accounts import services as accounts
        from common.ids import uuid7
        from trust import world

        owners = [world.make_person().personal_organization for _ in range(ORGANIZATIONS)]
        ids = [one.pk for one in owners]
        city = cls(
            ids,
            {uuid7(): random.choice(ids) for _ in range(KEYS)},
            {uuid7(): random.choice(ids) for _ in range(DEPLOYMENTS)},
        )
        for organization in owners:
            accounts.ensure_credit(organization=organization, limit_nano=random.choice([4_000, 40_000]))
        for kind, subjects, limits in (
            ("key", city.keys, (120, 600, 10**6)),
            ("deployment", city.deployments, (150, 900, 10**6)),
            ("organization", ids, (2_000, 10**6)),
        ):
            for subject in subjects:
                accounts.set_spend_limit(
                    subject_kind=kind,
                    subject_id=subject,
                    limit_nano=random.choice(limits),
                    window=random.choice(["day", "day", "week", "lifetime"]),
                    time_zone=random.choice(["UTC", "Europe/Berlin", "Pacific/Kiritimati"]),
                )
        city.remember()
        return city

    @property
    def subjects(self) -> list[UUID]:
        return [*self.organizations, *self.keys, *self.deployments]

    def remember(self) -> None:
        """The rows in force, as a snapshot has them."""
        from accounts.models import Budget

        self.budgets = {subject: [] for subject in self.subjects}
        rows = Budget.objects.filter(subject_id__in=self.subjects, closed_at=None)
        newest = rows.order_by("subject_id", "purpose", "window", "-starts_at")
        for budget in newest.distinct("subject_id", "purpose", "window"):
            self.budgets[budget.subject_id].append(budget.pk)

    def turn_windows(self, number: int) -> None:
        """A day or more later. What is remembered is of before, for a second of every process's life."""
        self.offset = f"{1 + number} days"

    def ask(self, random: Random) -> tuple[Reserve, tuple[UUID, ...]]:
        """A call with a key, perhaps by a deployment, its budgets in any order."""
        from common.ids import uuid7
        from gateway.services.calls import Reserve

        key, organization = random.choice(list(self.keys.items()))
        own = [one for one, owner in self.deployments.items() if owner == organization]
        deployment = random.choice([*own, None]) if own else None
        subjects = tuple(one for one in (key, deployment, organization) if one is not None)
        budgets = [budget for subject in subjects for budget in self.budgets[subject]]
        random.shuffle(budgets)
        return (
            Reserve.of(
                id=uuid7(),
                organization_id=organization,
                user_id=None,
                api_key_id=key,
                publisher_id=organization,
                ai_model_id=organization,
                version_id=organization,
                price_id=organization,
                kind="invoke",
                mode="live",
                is_streamed=False,
                hold_nano=random.choice(HOLDS),
                budget_ids=tuple(budgets),
                deployment_id=deployment,
            ),
            subjects,
        )

    # --- The books ---

    def judge(self, context: Context, trial: Trial) -> None:
        """In the pause: nobody moves anything."""
        from gateway.models import Invocation

        expect, what = context.expect, f"after {trial.number + trial.size} reserves"
        holds: Counter[UUID] = Counter()
        for one in self.open:
            for subject in one.subjects:
                holds[subject] += one.reserve.hold_nano
        shown: Counter[UUID] = Counter()
        spent: Counter[UUID] = Counter()
        for budget, rows_hold, rows_cost in self._rows(context):
            expect(budget.held == rows_hold, f"{what}: budget {budget} holds {budget.held}, its calls {rows_hold}")
            expect(budget.spent == rows_cost, f"{what}: budget {budget} spent {budget.spent}, its calls {rows_cost}")
            left = budget.limit - budget.held - budget.spent
            expect(left >= 0, f"{what}: budget {budget} is beyond its limit by {-left}")
            if budget.purpose == "spend_limit":  # one of each subject, in each window
                shown[budget.subject_id] += budget.held
                spent[budget.subject_id] += budget.spent
        for subject in self.subjects:
            expect(shown[subject] == holds[subject], f"{what}: {shown[subject]} held, {holds[subject]} by our count")
            expect(spent[subject] == self.spent[subject], f"{what}: {spent[subject]} spent, not {self.spent[subject]}")
        rows = dict(Invocation.objects.filter(state="started").values_list("pk", "budget_ids"))
        expect(rows.keys() == {one.reserve.id for one in self.open}, f"{what}: other calls are open than were admitted")
        for one in self.open:
            wanted = len(one.reserve.what.budget_ids)
            expect(len(set(rows.get(one.reserve.id, ()))) == wanted, f"{what}: a call is held by some budgets alone")
        context.worst("open_calls_at_a_pause", len(self.open))
        self.remember()

    @staticmethod
    def _rows(context: Context) -> Any:
        """Each budget, and what its calls hold and cost."""
        from accounts.models import Budget

        sums = context.ground.execute(
            "SELECT x.budget, sum(i.hold_nano) FILTER (WHERE i.state = 'started'), sum(i.cost_nano)"
            "  FROM gateway_invocation i, unnest(i.budget_ids) x(budget) GROUP BY x.budget"
        )
        found = {id: (int(held or 0), int(cost or 0)) for id, held, cost in sums}
        for budget in Budget.objects.all():
            yield budget, *found.get(budget.pk, (0, 0))

    def fill_up(self, context: Context) -> None:
        """Alone, a call that fits is admitted, and one that is too large by one unit is refused by the right budget."""
        from django.db import connection

        from accounts.models import Budget
        from accounts.services import current_budgets
        from common.ids import uuid7
        from gateway.services.calls import move

        if self.offset:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [self.offset])
        current_budgets(self.subjects)
        self.remember()
        for _ in range(30):
            reserve, _ = self.ask(context.random)
            budgets = Budget.objects.in_bulk(reserve.what.budget_ids)
            tightest = min(budgets.values(), key=lambda one: one.left)
            beyond = reserve._replace(hold_nano=tightest.left + 1)
            fitting = [reserve._replace(id=uuid7(), hold_nano=tightest.left)] if tightest.left else []
            refused = move(reserves=[beyond, *fitting]).refused
            context.expect(
                0 in refused and budgets[refused[0]].left == tightest.left,
                f"a call beyond a limit by one unit is refused by {refused.get(0)}, not by {tightest.pk}",
            )
            context.expect(1 not in refused, "a call that fits every budget is refused, behind one that did not")


# --- Workers ----------------------------------------------------------------------------------------------------------


async def _connect(url: str) -> list[Prepared]:
    """A connection for each worker, as a gateway process has one."""
    from gateway.hotpath.money import SESSION
    from gateway.hotpath.prepared import Prepared
    from gateway.services.calls import BATCH_STATEMENT

    return [await Prepared.connect(url, BATCH_STATEMENT, options=SESSION) for _ in range(WORKERS)]


async def _hang_up(connections: list[Prepared]) -> None:
    for connection in connections:
        await connection.close()


async def _round(context: Context, city: City, trial: Trial, connections: list[Prepared]) -> None:
    random, shares = trial.random, [0] * WORKERS
    for number in range(trial.size):
        shares[number % WORKERS] += 1
    left, city.open = list(city.open), []
    random.shuffle(left)
    for connection in connections:
        await connection.query("SELECT set_config('agorai.clock_offset', %s, false)", [city.offset])
    workers = [
        _work(context, city, Random(random.random()), share, left[number::WORKERS], connections[number])
        for number, share in enumerate(shares)
    ]
    for kept in await asyncio.gather(*workers):
        city.open += kept


async def _work(
    context: Context,
    city: City,
    random: Random,
    reserves: int,
    open: list[Open],
    connection: Prepared,
) -> list[Open]:
    """So many reserves, in batches with settles of open calls. Returns what is still open."""
    from gateway.services.calls import batch_parameters, read_answer

    while reserves > 0:
        asked = [city.ask(random) for _ in range(min(reserves, random.randint(1, 4)))]
        reserves -= len(asked)
        ending = [open.pop() for _ in range(min(len(open), random.randint(0, 4)))]
        settles = [_settle(one, random) for one in ending]
        try:
            reserves_asked = [reserve for reserve, _ in asked]
            answer = read_answer(*await connection.run(batch_parameters(reserves_asked, settles, is_repeat=False)))
        except psycopg.Error as error:
            context.violation(f"a batch is not written: {type(error).__name__}: {str(error).splitlines()[0]}")
            open += ending
            continue
        context.expect(not answer.unsettled, "a call that was open is not settled")
        for one in ending:
            cost = min(_cost(one), one.reserve.hold_nano)
            for subject in one.subjects:
                city.spent[subject] += cost
        for position, (reserve, subjects) in enumerate(asked):
            if position not in answer.refused:
                open.append(Open(reserve, subjects))
        if open and random.random() < GROWING:
            await _grow(context, connection, random.choice(open))
    return open


async def _grow(context: Context, connection: Prepared, one: Open) -> None:
    """Let a call hold twice as much, in all of its budgets or in none."""
    wanted = 2 * one.reserve.hold_nano
    try:
        ((is_held,),) = await connection.query("SELECT is_held FROM gateway_extend(%s, %s)", [one.reserve.id, wanted])
    except psycopg.Error as error:
        context.violation(f"a hold does not grow: {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    if is_held:
        one.reserve = one.reserve._replace(hold_nano=wanted)


def _cost(one: Open) -> int:
    """What the call costs in the end, which may be beyond what it held."""
    return one.reserve.id.int % (one.reserve.hold_nano * 3 // 2 + 1)


def _settle(one: Open, random: Random) -> Settle:
    from gateway.models import Rule
    from gateway.services.calls import Settle

    return Settle(
        id=one.reserve.id,
        rule=Rule.DEMO,
        cost_nano=_cost(one),
        input_tokens=random.randint(0, 9),
        output_tokens=0,
        usage_source="reported",
        http_status=200,
        error_code="",
        latency_ms=1,
        first_token_ms=None,
    )


# --- Through the front door -------------------------------------------------------------------------------------------


def _over_http(context: Context) -> None:
    """With a key that has room for some calls, by a deployment that has room for fewer, for an organization that has
    room for more: exactly so many are admitted, and each refusal names the limit that was reached."""
    from accounts import services as accounts
    from accounts.models import Budget
    from apikeys.services import SpendLimit
    from gateway import services as gateway
    from marketplace.services import Terms
    from trust import world

    webs = context.ground.webs(2)
    terms = Terms(type="paid", per_call_nano=PRICE_NANO)
    ai_model = world.make_model(context.ground, pricing=terms)
    person = world.make_person()
    organization = person.personal_organization
    world.give_credit(organization, 10**12)
    accounts.set_spend_limit(
        subject_kind="organization",
        subject_id=organization.pk,
        limit_nano=FITS["organization"] * PRICE_NANO,
        window="lifetime",
        time_zone="UTC",
    )
    limit = SpendLimit(FITS["deployment"] * PRICE_NANO, "lifetime")
    made = gateway.create_deployment(
        organization=organization, name="nested", ai_model_id=ai_model.pk, spend_limit=limit
    )
    _key, secret = world.make_key(person, spend_limit=SpendLimit(FITS["key"] * PRICE_NANO, "lifetime"))
    _other, another = world.make_key(person)
    admitted = 0
    for name, credential, source in (
        ("nested", secret, "deployment"),
        (ai_model.public_id, secret, "key"),
        (ai_model.public_id, another, "organization"),
    ):
        answers = _call(context, [web.url for web in webs], name, credential)
        admitted += sum(status == 200 for status, _ in answers)
        context.expect(
            admitted == FITS[source], f"{admitted} calls are admitted where the {source} has room for {FITS[source]}"
        )
        sources = {body.get("limit_source") for status, body in answers if status == 402}
        context.expect(sources == {source}, f"a limit of the {source} is reached, and {sources} are named")
    for subject in (made.pk, organization.pk):
        for budget in Budget.objects.filter(subject_id=subject):
            context.expect(budget.held == 0, f"after the last call the {budget} holds {budget.held}")
    spent = Budget.objects.get(subject_id=made.pk).spent
    context.expect(spent == FITS["deployment"] * PRICE_NANO, f"the deployment has spent {spent}")


def _call(context: Context, urls: Sequence[str], name: str, credential: str) -> list[tuple[int, dict[str, Any]]]:
    from trust.http import Request, burst

    requests = [
        Request("POST", f"{urls[number % len(urls)]}/api/models/{name}/invoke", {"text": "x"}, credential)
        for number in range(2 * max(FITS.values()))
    ]
    answers = burst(requests)
    for answer in answers:
        context.expect(answer.status in (200, 402), f"a call is answered {answer.status} {answer.body[:200]!r}")
    return [(answer.status, answer.json) for answer in answers]
