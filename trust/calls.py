"""Calls under load while something is killed: a market to call in, an endpoint that keeps books of its own, callers
that remember what they were answered. `trust.reckoning` judges all three. To be imported inside `run`.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import aiohttp
import psycopg
from aiohttp import web

from accounts.models import User
from apikeys.services import SpendLimit
from common.ids import decode, encode
from common.money import to_nano
from gateway import services as gateway
from gateway.models import Endpoint
from gateway.tests.upstream import chunk
from marketplace import services as marketplace
from marketplace.models import AIModel
from trust import world
from trust.ground import Ground
from trust.http import Client

PER_CALL_NANO = 2_000_000
PER_TOKEN_NANO = 1_000
INPUT_TOKENS, MAX_OUTPUT_TOKENS = 7, 40
KEYS, CALLERS = 4, 16
TIGHT_CALLERS, TIGHT_CALLS = 2, 6
CALL_SECONDS = 60
NOTHING_LEFT_SECONDS = 0.1  # before a key that has nothing left to spend tries again
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
    tight: tuple[UUID, str]  # a key that has little left to spend, with its secret

    def refill(self, owner_url: str) -> None:
        """The tight key may go on for a few calls, and is at its limit again soon."""
        with psycopg.connect(owner_url, autocommit=True) as connection:
            statement = 'UPDATE accounts_budget SET "limit" = spent + %s WHERE subject_id = %s AND closed_at IS NULL'
            connection.execute(statement, [TIGHT_CALLS * PER_CALL_NANO, self.tight[0]])

    def confirm(self, url: str, id: UUID, finished: Finished) -> int:
        """Say, signed as the publisher, what a call used. Returns the status of the answer."""
        ai_model = self.per_token if finished.input_tokens else self.per_call
        key = gateway.signing_key_of(Endpoint.objects.get(version=ai_model.current_version))
        tokens = {"input_tokens": finished.input_tokens, "output_tokens": finished.output_tokens}
        raw = json.dumps({"request_id": encode("req", id), **tokens}).encode()
        signed = b"%d.%b.%b" % (at := int(time.time()), encode("req", id).encode(), raw)
        signature = f"t={at},v1={hmac.digest(key, signed, 'sha256').hex()}"
        return Client(url)("POST", "/api/usage-confirmations", raw=raw, X_Agorai_Signature=signature).status

    @classmethod
    def open(cls, ground: Ground, *, credit_nano: int = 10**12) -> Market:
        publisher, consumer = world.make_person(platform_role="developer"), world.make_person()
        per_token = marketplace.Terms(
            type="paid",
            input_nano_per_million=PER_TOKEN_NANO * 10**6,
            output_nano_per_million=PER_TOKEN_NANO * 10**6,
        )
        per_call = marketplace.Terms(type="paid", per_call_nano=PER_CALL_NANO)
        tight, secret = world.make_key(consumer, spend_limit=SpendLimit(TIGHT_CALLS * PER_CALL_NANO))
        market = cls(
            publisher,
            consumer,
            _make_model(ground, publisher, "Answer", "json", per_call),
            _make_model(ground, publisher, "Chat", "openai", per_token),
            [world.make_key(consumer, spend_limit=SpendLimit(credit_nano))[1] for _ in range(KEYS)],
            (tight.pk, secret),
        )
        world.give_credit(consumer.personal_organization, credit_nano)
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


@dataclass(frozen=True, slots=True)
class Finished:
    """What an endpoint knows of an answer that it finished."""

    input_tokens: int
    output_tokens: int
    cost_nano: int


# --- The endpoint -----------------------------------------------------------------------------------------------------


class Confirming:
    """An endpoint that writes each answer which it finished to the disk, before the last of it leaves.

    `finished`: by call. How long it takes and how much it says follows from the call's id.
    """

    def __init__(self, ground: Ground, *, slowest_seconds: float = 0.08) -> None:
        self._file = os.open(ground.directory / "confirmed.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._slowest = slowest_seconds
        self.finished: dict[UUID, Finished] = {}
        self.confirmed: set[UUID] = set()
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
            self._finish(id, Finished(0, 0, PER_CALL_NANO))
            return web.json_response({"label": "ok"})
        finished = Finished(INPUT_TOKENS, output, (INPUT_TOKENS + output) * PER_TOKEN_NANO)
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": output}
        if (await request.json()).get("stream") is not True:
            await asyncio.sleep(seconds)
            self._finish(id, finished)
            message = {"role": "assistant", "content": "hello"}
            return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(4):
            await response.write(_event(chunk("ab")))
            await asyncio.sleep(seconds / 4)
        self._finish(id, finished)
        await response.write(_event(chunk(finish="stop", usage=usage)) + b"data: [DONE]\n\n")
        return response

    def _finish(self, id: UUID, finished: Finished) -> None:
        os.write(self._file, json.dumps({"call": str(id), **asdict(finished)}).encode() + b"\n")
        os.fdatasync(self._file)
        self.finished[id] = finished


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
        self.market, self.urls = market, urls
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
        market = self.market
        key = market.tight[1] if number < TIGHT_CALLERS else market.keys[number % len(market.keys)]
        while True:
            await self._gate.wait()
            if self._is_ended:
                return
            turn = next(self._turns)
            self._busy += 1
            try:
                made = await make_call(
                    session, market, self.urls[turn % len(self.urls)], key, KINDS[turn % len(KINDS)], self
                )
            finally:
                self._busy -= 1
            if made is None:  # nobody listened there
                await asyncio.sleep(0.01)
            else:
                self.made.append(made)
                await asyncio.sleep(self._pause if made.status != 402 else NOTHING_LEFT_SECONDS)


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
