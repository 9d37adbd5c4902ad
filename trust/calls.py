"""Calls under load while something is killed: a market to call in, an endpoint that keeps books of its own, callers
that remember what they were answered, and the judgement of all three. To be imported inside `run`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import aiohttp
from aiohttp import web
from django.db import connection

from accounts.models import User
from apikeys.services import SpendLimit
from billing.services import ensure_account
from common.ids import decode
from common.money import to_nano
from gateway import services as gateway
from gateway.tests.upstream import chunk
from marketplace import services as marketplace
from marketplace.models import AIModel
from trust import world
from trust.ground import Ground
from trust.harness import Context

PER_CALL_NANO = 2_000_000
PER_TOKEN_NANO = 1_000
INPUT_TOKENS, MAX_OUTPUT_TOKENS = 7, 40
KEYS, CALLERS = 4, 16
LATER = "16 minutes"  # than now: whatever has not been heard of since is an orphan
CALL_SECONDS = 60
KINDS = ("unary", "stream", "json")
OBJECT = {"type": "object"}


@dataclass(slots=True)
class Market:
    """A publisher with two models, one paid by the call and one by the token, and keys of somebody with credit."""

    publisher: User
    consumer: User
    per_call: AIModel
    per_token: AIModel
    keys: list[str]

    @classmethod
    def open(cls, ground: Ground, *, credit_nano: int = 10**12) -> Market:
        publisher, consumer = world.make_person(platform_role="developer"), world.make_person()
        per_token = marketplace.Terms(
            type="paid",
            input_nano_per_million=PER_TOKEN_NANO * 10**6,
            output_nano_per_million=PER_TOKEN_NANO * 10**6,
        )
        per_call = marketplace.Terms(type="paid", per_call_nano=PER_CALL_NANO)
        market = cls(
            publisher,
            consumer,
            _make_model(ground, publisher, "Answer", "json", per_call),
            _make_model(ground, publisher, "Chat", "openai", per_token),
            [world.make_key(consumer, spend_limit=SpendLimit(credit_nano))[1] for _ in range(KEYS)],
        )
        credit = ensure_account(consumer.personal_organization)
        ground.execute('UPDATE accounts_budget SET "limit" = %s WHERE id = %s', [credit_nano, credit.pk])
        return market

    def request(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Path and body of a call."""
        if kind == "json":
            return f"/api/models/{self.per_call.public_id}/invoke", {"text": "x"}
        model = f"{self.publisher.personal_organization.slug}/{self.per_token.slug}"
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": MAX_OUTPUT_TOKENS}
        return "/v1/chat/completions", {**body, "stream": True} if kind == "stream" else body


def _make_model(ground: Ground, publisher: User, name: str, protocol: str, terms: marketplace.Terms) -> AIModel:
    ai_model = marketplace.create_model(
        publisher=publisher.personal_organization,
        name=name,
        description="Answers.",
        version="1.0.0",
        category="other",
        api_spec={"input": OBJECT, "output": OBJECT},
        pricing=terms,
    )
    gateway.set_endpoint(ai_model=ai_model, url=ground.upstream.url, protocol=protocol)
    marketplace.submit(ai_model=ai_model)
    marketplace.publish(ai_model=ai_model, by_staff=True)
    ai_model.refresh_from_db()
    return ai_model


# --- The endpoint -----------------------------------------------------------------------------------------------------


class Confirming:
    """An endpoint that writes each answer which it finished to the disk, before the last of it leaves.

    `finished`: by call, what it costs. How long it takes and how much it says follows from the call's id.
    """

    def __init__(self, ground: Ground, *, slowest_seconds: float = 0.08) -> None:
        self._file = os.open(ground.directory / "confirmed.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._slowest = slowest_seconds
        self.finished: dict[UUID, int] = {}
        self.asked: list[UUID] = []
        ground.upstream.behave = self

    def close(self) -> None:
        os.close(self._file)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        id = decode("req", request.headers["X-Agorai-Request-Id"])
        self.asked.append(id)
        chance = id.int & 0xFFFF
        seconds, output = self._slowest * chance / 0xFFFF, 1 + chance % MAX_OUTPUT_TOKENS
        if not request.path.endswith("/chat/completions"):
            await asyncio.sleep(seconds)
            self._confirm(id, PER_CALL_NANO)
            return web.json_response({"label": "ok"})
        cost = (INPUT_TOKENS + output) * PER_TOKEN_NANO
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": output}
        if (await request.json()).get("stream") is not True:
            await asyncio.sleep(seconds)
            self._confirm(id, cost)
            message = {"role": "assistant", "content": "hello"}
            return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(4):
            await response.write(_event(chunk("ab")))
            await asyncio.sleep(seconds / 4)
        self._confirm(id, cost)
        await response.write(_event(chunk(finish="stop", usage=usage)) + b"data: [DONE]\n\n")
        return response

    def _confirm(self, id: UUID, cost: int) -> None:
        os.write(self._file, json.dumps({"call": str(id), "cost_nano": cost}).encode() + b"\n")
        os.fdatasync(self._file)
        self.finished[id] = cost


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


# --- The callers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Made:
    """One call as its caller saw it. Instants are of this process's monotonic clock.

    status: 0 where the connection broke. is_answered: to its last byte. cost_nano: as the answer said.
    """

    kind: str
    began: float
    ended: float
    status: int
    id: UUID | None = None
    is_answered: bool = False
    cost_nano: int | None = None
    code: str = ""
    retry_after: str = ""
    url: str = ""


class Load:
    """Callers on a thread of their own, one call after the other each, from `go` to `rest`. `urls` may change."""

    def __init__(self, market: Market, urls: list[str], *, callers: int = CALLERS, pause_seconds: float = 0.0) -> None:
        self._market, self.urls = market, urls
        self._callers, self._pause = callers, pause_seconds
        self.made: list[Made] = []
        self.begun = 0
        self._busy = 0
        self._loop = asyncio.new_event_loop()
        self._gate = asyncio.Event()
        self._turns = itertools.count()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._is_ended = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended = True
        self._loop.call_soon_threadsafe(self._gate.set)
        self._thread.join(CALL_SECONDS + 10)

    def go(self) -> None:
        self._loop.call_soon_threadsafe(self._gate.set)

    def rest(self) -> None:
        """Returns when every call has ended."""
        self._loop.call_soon_threadsafe(self._gate.clear)
        deadline = time.monotonic() + CALL_SECONDS + 10
        time.sleep(0.02)
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.005)
        if self._busy:
            raise RuntimeError(f"{self._busy} calls do not end.")

    def wait(self, begun: int, seconds: float = CALL_SECONDS) -> None:
        """Until so many calls have begun, since the first."""
        deadline = time.monotonic() + seconds
        while self.begun < begun and time.monotonic() < deadline:
            time.sleep(0.002)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._call_all())
        self._loop.close()

    async def _call_all(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._call_on(session, number) for number in range(self._callers)))

    async def _call_on(self, session: aiohttp.ClientSession, number: int) -> None:
        key = self._market.keys[number % len(self._market.keys)]
        while True:
            await self._gate.wait()
            if self._is_ended:
                return
            turn = next(self._turns)
            self._busy += 1
            try:
                made = await make_call(
                    session, self._market, self.urls[turn % len(self.urls)], key, KINDS[turn % len(KINDS)], self
                )
            finally:
                self._busy -= 1
            if made is None:  # nobody listened there
                await asyncio.sleep(0.01)
            else:
                self.made.append(made)
                await asyncio.sleep(self._pause)


async def make_call(
    session: aiohttp.ClientSession, market: Market, url: str, key: str, kind: str, load: Load | None = None
) -> Made | None:
    """None where nothing could be sent."""
    path, body = market.request(kind)
    began, status, id = time.monotonic(), 0, None
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "trust"}
    if load is not None:
        load.begun += 1
    try:
        async with session.post(url + path, json=body, headers=headers) as response:
            status = response.status
            if (request_id := response.headers.get("x-request-id")) is not None:
                id = decode("req", request_id)
            raw = await response.read()
            answered, code, cost = _read(kind, status, raw, response.headers.get("x-cost-usd"))
            wait = response.headers.get("Retry-After", "")
            return Made(kind, began, time.monotonic(), status, id, answered, cost, code, wait, url)
    except aiohttp.ClientConnectorError:
        if load is not None:
            load.begun -= 1
        return None
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return Made(kind, began, time.monotonic(), status if status != 200 else 0, id, url=url)


def _read(kind: str, status: int, raw: bytes, cost: str | None) -> tuple[bool, str, int | None]:
    """Whether it is an answer to its end, the code if it is a problem, and what it says that it cost."""
    if status != 200:
        try:
            problem = json.loads(raw)
        except ValueError:
            return False, "", None
        return False, str(problem.get("error", problem).get("code", "")), None
    if kind != "stream":
        return True, "", to_nano(cost or "0")
    events = [event.removeprefix(b"data: ") for event in raw.split(b"\n\n") if event]
    if not events or events[-1] != b"[DONE]":
        return False, "", None
    last = json.loads(events[-2], parse_float=Decimal) if len(events) > 1 else {}
    if "error" in last:
        return False, str(last["error"]["code"]), None
    return True, "", to_nano(Decimal(last.get("usage", {}).get("cost", 0)))


# --- The judgement ----------------------------------------------------------------------------------------------------


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
            due = self.endpoint.finished.get(call.id) if call.id is not None else None
            expect(due is not None, f"{name} was never finished by the endpoint")
            expect(row.state == "final", f"{name} is {row.state}")
            expect(row.events == 1, f"{name} has {row.events} usage events of its cost")
            told = f"was told {call.cost_nano} and is due {due}"
            expect(row.cost_nano == due == call.cost_nano, f"{name} cost {row.cost_nano} ({row.rule}), {told}")
        connection.close()  # or it may be killed with the others
        for call in fresh:
            expect(call.status < 500 or call.status in (502, 503, 504), f"a call is answered {call.status}")
            if call.status == 503:
                expect(call.retry_after.isdigit() and int(call.retry_after) > 0, "a 503 does not say when to try again")

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
        """Each call that the endpoint finished has one row, final, and is charged what is due or nothing."""
        unpaid = 0
        rows = read_rows(self.endpoint.finished)
        for id, due in self.endpoint.finished.items():
            row = rows.get(id)
            if not self.context.expect(row is not None, "a call that the endpoint finished has no row") or row is None:
                continue
            right = row.cost_nano == due or (row.cost_nano == 0 and row.rule.startswith(("orphan", "not_sent")))
            self.context.expect(right, f"a finished call costs {row.cost_nano} ({row.rule}) in place of {due}")
            unpaid += row.cost_nano == 0
        self.context.worst("finished", len(rows))
        self.context.worst("finished_and_void", unpaid)


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
