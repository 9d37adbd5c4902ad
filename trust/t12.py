"""A request that is repeated under its idempotency key has one effect and one answer, whoever sends the repeat, to
whichever process, and whatever happened to the first.

A trial is one key. Twenty are tried at a time, on two processes: sent many times at once; repeated at once, by another
key of the organization, by another organization, with something else in it; while the first runs; after the first
failed, or its reader left. Or all twenty are under way when their process is killed. At the end the database's clock
goes on by a day. What is charged is read from the books, and what was asked from the endpoint.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp

from trust.harness import Context, Result, Trial
from trust.http import Answer, Request, open_session, send
from trust.registry import Sabotage
from trust.repeats import Endpoint, Try, is_whole
from trust.zygote import Zygote

if TYPE_CHECKING:
    from trust.calls import Market

AT_ONCE = 20
KILLED_EVERY = 5  # groups
A_DAY_LATER, AGED = "24 hours 1 minute", 20  # keys that are tried again then
KINDS = ("json", "unary", "stream")

SABOTAGES = (
    Sabotage(
        "a key is not scoped to the account",
        "gateway/hotpath/idempotency.py",
        '            "organization": organization_id,\n',
        '            "organization": UUID(int=0),\n',
    ),
    Sabotage(
        "the answer is kept after the last byte",
        "gateway/hotpath/call.py",
        "                await call.claim.keep(call.id, answer.body)\n",
        "                asyncio.get_running_loop().call_later(\n"
        "                    0.5, lambda: asyncio.ensure_future(call.claim.keep(call.id, answer.body))\n"
        "                )\n",
    ),
    Sabotage(
        "the answer of a stream is kept after the last byte",
        "gateway/hotpath/stream.py",
        "                await call.claim.keep(call.id)\n",
        "                asyncio.get_running_loop().call_later(\n"
        "                    0.5, lambda: asyncio.ensure_future(call.claim.keep(call.id))\n"
        "                )\n",
    ),
    Sabotage(
        "a hash without the path",
        "observability/services/idempotency.py",
        "method.encode(), path.encode(), mode.encode()",
        "method.encode(), mode.encode()",
    ),
    Sabotage(
        "a hash without the body",
        "observability/services/idempotency.py",
        "sha256(body).digest()])",
        "sha256().digest()])",
    ),
    Sabotage(
        "read, then write",
        "gateway/hotpath/idempotency.py",
        " WHERE k.id = excluded.id OR k.claimed_at",
        " WHERE k.sealed_answer IS NULL OR k.claimed_at",
    ),
    Sabotage(
        "a failure keeps its key",
        "gateway/hotpath/idempotency.py",
        "FREES = sorted(rule.value for rule in UNDELIVERED)",
        "FREES: list[str] = []",
    ),
    Sabotage(
        "what is charged and lost is made again",
        "gateway/hotpath/idempotency.py",
        "(SELECT c.state = 'final' AND c.rule = ANY (%(frees)s::text[]) FROM",
        "(SELECT c.state = 'final' AND (k.sealed_answer IS NULL OR c.rule = ANY (%(frees)s::text[])) FROM",
    ),
    Sabotage(
        "of a lost stream nothing more is noted",
        "gateway/hotpath/stream.py",
        "            if self._call.claim is not None:\n",
        "            if self._call.claim is not None and not self._is_client_gone:\n",
    ),
    Sabotage(
        "a key is held for ever",
        "gateway/hotpath/idempotency.py",
        "k.claimed_at <= clock_now() - %(kept_for)s::interval\n",
        "k.claimed_at <= clock_now() - %(kept_for)s::interval * 100\n",
    ),
)


def run(context: Context) -> Result:
    from trust.calls import Market

    ground = context.ground
    with ground.another_database():  # whose clock goes on
        market, other = Market.open(ground), Market.open(ground)
        endpoint = Endpoint()
        ground.upstream.behave = endpoint
        with Zygote(ground.given(), ground.directory / "log" / "zygote-t12.log") as zygote:
            tries = Tries(context, market, other, endpoint, zygote)
            for trial in context.each(per=AT_ONCE):
                asyncio.run(tries.make(trial))
            asyncio.run(tries.a_day_later())
    return context.result()


Case = Callable[[aiohttp.ClientSession, Try], Coroutine[Any, Any, None]]


class Tries:
    def __init__(self, context: Context, market: Market, other: Market, endpoint: Endpoint, zygote: Zygote) -> None:
        self._context, self._market, self._other, self._endpoint = context, market, other, endpoint
        self._zygote = zygote
        self._webs = [zygote.start_web(wait=False), zygote.start_web(wait=False)]
        for web in self._webs:
            zygote.wait_until_ready(web)
        self._cases: tuple[Case, ...] = (
            self._at_once,
            self._again,
            self._otherwise,
            self._by_others,
            self._while_it_runs,
            self._after_a_failure,
            self._after_the_reader_left,
        )
        self._settled: list[Try] = []
        self._seen: Counter[str] = Counter()

    async def make(self, trial: Trial) -> None:
        """A group of keys, and then a look at the books."""
        random = trial.random
        if trial.number // AT_ONCE % KILLED_EVERY == KILLED_EVERY - 1:
            tries = [self._try(random, "kill") for _ in range(trial.size)]
            await self._killed(tries, random)
        else:
            cases = [random.choice(self._cases) for _ in range(trial.size)]
            tries = [self._try(random, _prefix(case)) for case in cases]
            async with open_session() as session:
                await asyncio.gather(*(case(session, one) for case, one in zip(cases, tries, strict=True)))
        await asyncio.to_thread(self._judge, tries)
        self._settled += [one for one in tries if one.answer is not None]

    def _try(self, random: Random, prefix: str) -> Try:
        return Try(Random(random.getrandbits(64)), random.choice(KINDS), f"{prefix}-{random.getrandbits(64):x}")

    def _request(self, one: Try, *, market: Market | None = None, secret: str = "", **changes: Any) -> Request:
        """The request of a try, at either process. changes: `token`, `kind` or `key` other than its own."""
        told = {"token": one.token, "kind": one.kind, "key": one.key, **changes}
        path, body = self._market.request(told["kind"])
        body = (
            {**body, "text": told["token"]}
            if "text" in body
            else {**body, "messages": [{"role": "user", "content": told["token"]}]}
        )
        secret = secret or (market or self._market).keys[0]
        url = changes.get("url") or one.random.choice(self._webs).url
        return Request("POST", url + path, body, secret, {"Idempotency-Key": told["key"]})

    def _expect(self, holds: bool, one: Try, what: str) -> bool:
        return self._context.expect(holds, f"{what} ({one.kind}, {one.token})")

    def _is_replay(self, one: Try, answer: Answer, what: str) -> None:
        first = one.answer
        if first is None:
            return
        self._seen["repeats"] += 1
        self._expect(answer.status == first.status, one, f"{what} is {answer.status}, and the first was {first.status}")
        self._expect(answer.body == first.body, one, f"{what} has other bytes than the first")
        self._expect(answer.headers.get("idempotency-replayed") == "true", one, f"{what} does not say that it is one")

    def _is_running(self, one: Try, answer: Answer, what: str) -> None:
        self._seen["told_to_wait"] += 1
        is_told = answer.status == 409 and int(answer.headers.get("retry-after", "0")) >= 1
        self._expect(is_told, one, f"{what} is {answer.status}, without saying when to come again")

    # --- Cases ---

    async def _first(self, session: aiohttp.ClientSession, one: Try) -> None:
        answer = await send(session, self._request(one))
        if self._expect(answer.status == 200 and is_whole(one, answer), one, f"a first request is {answer.status}"):
            self._expect("idempotency-replayed" not in answer.headers, one, "a first request says that it is a repeat")
            one.answer = answer

    async def _at_once(self, session: aiohttp.ClientSession, one: Try) -> None:
        count = one.random.randint(3, 8)
        answers = await asyncio.gather(*(send(session, self._request(one)) for _ in range(count)))
        firsts = [a for a in answers if a.status == 200 and "idempotency-replayed" not in a.headers]
        if not self._expect(len(firsts) == 1, one, f"of {count} at once {len(firsts)} were made"):
            return
        one.answer = firsts[0]
        for answer in answers:
            if answer is not firsts[0]:
                if answer.status == 200:
                    self._is_replay(one, answer, "one of many at once")
                else:
                    self._is_running(one, answer, "one of many at once")
        self._is_replay(one, await send(session, self._request(one)), "a repeat after many at once")

    async def _again(self, session: aiohttp.ClientSession, one: Try) -> None:
        await self._first(session, one)
        for secret in one.random.sample(self._market.keys, 2):
            self._is_replay(one, await send(session, self._request(one, secret=secret)), "a repeat")

    async def _otherwise(self, session: aiohttp.ClientSession, one: Try) -> None:
        await self._first(session, one)
        kind = one.random.choice([kind for kind in KINDS if kind != one.kind])
        others = {
            "another body": self._request(one, token=one.token + "-other"),
            "another path": self._request(one, kind=kind),
        }
        if one.kind == "json":  # the same body, and the same model by its other name
            slug = f"{self._market.publisher.personal_organization.slug}:{self._market.per_call.slug}"
            own = self._request(one)
            others["another name of the model"] = Request(
                "POST", f"{self._webs[0].url}/api/models/{slug}/invoke", own.body, own.credential, own.headers
            )
        for what, request in others.items():
            answer = await send(session, request)
            is_refused = answer.status == 422 and b"idempotency_key_reused" in answer.body
            self._expect(is_refused, one, f"{what} under the same key is {answer.status}")
        self._is_replay(one, await send(session, self._request(one)), "a repeat after something else")

    async def _by_others(self, session: aiohttp.ClientSession, one: Try) -> None:
        await self._first(session, one)
        theirs = await send(session, self._request(one, secret=self._other.keys[0]))
        self._expect(theirs.status == 200, one, f"another organization's own request is {theirs.status}")
        is_own = one.answer is None or theirs.body != one.answer.body
        self._expect(
            is_own and "idempotency-replayed" not in theirs.headers, one, "another organization got the answer"
        )
        one.effects = 2
        self._is_replay(one, await send(session, self._request(one)), "a repeat after another organization's")

    async def _while_it_runs(self, session: aiohttp.ClientSession, one: Try) -> None:
        first = asyncio.create_task(self._first(session, one))
        while not self._endpoint.asked[one.token] and not first.done():
            await asyncio.sleep(0.01)
        answer = await send(session, self._request(one))
        if not first.done():
            self._is_running(one, answer, "a repeat while the first runs")
        await first
        self._is_replay(one, await send(session, self._request(one)), "a repeat of a slow one")

    async def _after_a_failure(self, session: aiohttp.ClientSession, one: Try) -> None:
        failed = await send(session, self._request(one))
        if failed.status != 200:  # the gateway may have tried again by itself
            self._expect(failed.status >= 500, one, f"a request whose endpoint failed is {failed.status}")
            await self._first(session, one)
        else:
            one.answer = failed
        self._is_replay(one, await send(session, self._request(one)), "a repeat of the second try")

    async def _after_the_reader_left(self, session: aiohttp.ClientSession, one: Try) -> None:
        one.kind = "stream"
        request = self._request(one)
        headers = {"Authorization": f"Bearer {request.credential}", **request.headers}
        async with session.post(request.url, json=request.body, headers=headers) as response:
            begun = await response.content.readany()
        for _ in range(200):
            answer = await send(session, self._request(one))
            if answer.status != 409:
                break
            await asyncio.sleep(0.05)
        self._expect(answer.headers.get("idempotency-replayed") == "true", one, "a lost stream is made again")
        self._expect(answer.body.startswith(begun), one, "a lost stream is repeated with other bytes")
        if self._expect(is_whole(one, answer), one, "a lost stream is repeated in part"):
            one.answer = answer
            self._is_replay(one, await send(session, self._request(one)), "a repeat of a lost stream")

    async def _killed(self, tries: list[Try], random: Random) -> None:
        """All are under way at one process when it is killed."""
        victim, survivor = self._webs
        self._endpoint.slowest_seconds = 0.3

        async def begin(session: aiohttp.ClientSession, one: Try) -> None:
            await asyncio.sleep(0.2 * one.random.random())
            try:
                one.answer = await send(session, self._request(one, url=victim.url))
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                return

        async with open_session() as session:
            begun = [asyncio.create_task(begin(session, one)) for one in tries]
            await asyncio.sleep(0.05 + 0.3 * random.random())
            victim.kill()
            await asyncio.gather(*begun)
            self._endpoint.slowest_seconds = 0.05
            for one in tries:
                answer = await send(session, self._request(one, url=survivor.url))
                if one.answer is not None and one.answer.status == 200 and is_whole(one, one.answer):
                    self._is_replay(one, answer, "a repeat of what was answered before the process died")
                    continue
                one.answer = None
                self._seen["lost_with_a_process"] += 1
                if answer.status == 409:
                    self._is_running(one, answer, "a repeat after the process died")
                else:
                    self._expect(answer.status == 200, one, f"a repeat after the process died is {answer.status}")
            await asyncio.to_thread(self._sweep)
            for one in tries:
                first = one.answer
                answer = await send(session, self._request(one, url=survivor.url))
                if first is not None:
                    self._is_replay(one, answer, "a repeat after the sweep")
                elif answer.status == 200:
                    one.answer = answer
                    again = await send(session, self._request(one, url=survivor.url))
                    self._is_replay(one, again, "a repeat of the one after the sweep")
                else:  # charged by what had been noted, and its answer died with the process
                    was_lost = answer.status == 422 and b"idempotent_answer_not_kept" in answer.body
                    self._expect(was_lost, one, f"a repeat after the sweep is {answer.status}")
        self._webs = [survivor, await asyncio.to_thread(self._zygote.start_web)]

    def _sweep(self) -> None:
        """What a killed process left is as old as an orphan, and is ended."""
        from gateway.services import settle_orphans

        ground = self._context.ground
        ground.execute("UPDATE gateway_invocation SET beat_at = beat_at - interval '1 hour' WHERE state = 'started'")
        ground.execute(
            "UPDATE observability_idempotencykey k SET claimed_at = claimed_at - interval '3 minutes'"
            " WHERE NOT EXISTS (SELECT FROM gateway_invocation c WHERE c.id = k.call_id)"
        )
        settle_orphans()

    async def a_day_later(self) -> None:
        """By the database's clock alone, which a process that is started now finds so."""
        from observability.services import prune_idempotency_keys

        ground = self._context.ground
        statement = f"alter database {{name}} set agorai.clock_offset = '{A_DAY_LATER}'"
        ground.cluster.execute(statement, name=ground.database)
        self._webs = [await asyncio.to_thread(self._zygote.start_web)]
        aged = self._settled[-AGED:]
        async with open_session() as session:
            for one in aged:
                before = one.answer
                answer = await send(session, self._request(one))
                is_new = answer.status == 200 and "idempotency-replayed" not in answer.headers
                self._expect(is_new, one, f"a day later the same request is {answer.status}, or a repeat")
                one.answer, one.effects = answer, one.effects + 1
                self._is_replay(one, await send(session, self._request(one)), "a repeat a day later")
                self._expect(before is None or before.body != answer.body, one, "a day later the answer is the old one")
        await asyncio.to_thread(self._judge, aged)
        ((held,),) = ground.execute("SELECT count(*) FROM observability_idempotencykey")
        for what, count in self._seen.items():
            self._context.worst(what, count)
        gone = await asyncio.to_thread(_in_the_new_day, prune_idempotency_keys)
        self._context.expect(gone == held - len(aged), f"of {held} keys {gone} are forgotten after their day")

    # --- The books ---

    def _judge(self, tries: list[Try]) -> None:
        from gateway.services import check_books
        from gateway.services.policy import UNDELIVERED

        asked = {one.token: list(self._endpoint.asked[one.token]) for one in tries}
        rows = self._context.ground.execute(
            "SELECT id, state, rule FROM gateway_invocation WHERE id = ANY (%s)",
            [[id for calls in asked.values() for id in calls]],
        )
        made = {id for id, state, rule in rows if state == "final" and rule not in {r.value for r in UNDELIVERED}}
        for one in tries:
            count = sum(id in made for id in asked[one.token])
            self._expect(count == one.effects, one, f"{count} calls are charged under one key, and not {one.effects}")
        open_calls = [id for id, state, _rule in rows if state != "final"]
        self._context.expect(not open_calls, f"{len(open_calls)} calls were never ended")
        wrong = check_books()
        self._context.expect(not wrong, f"the books: {wrong[:3]}")


def _in_the_new_day(work: Callable[[], int]) -> int:
    from django.db import connections

    connections.close_all()  # a session that is opened now has the new clock
    return work()


def _prefix(case: Case) -> str:
    return {"_while_it_runs": "slow", "_after_a_failure": "fail"}.get(getattr(case, "__name__", ""), "fast")
