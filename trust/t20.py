"""No answer holds a byte of another tenant's.

A trial is five hundred streams at once, of 25 organizations through two processes whose connections to one endpoint are
shared; each asks for, and is answered with, words of its own. Some callers leave in the middle, some answers break off,
and whoever is done asks again at once: plainly, and under an idempotency key that every organization uses. No answer
may hold a word that was not asked for by it, every call belongs to whoever made it, and so do the receipts that each
organization is shown.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from aiohttp import web

from trust.ground import Web
from trust.harness import Context, Result
from trust.http import SECONDS
from trust.registry import Sabotage

TENANTS, STREAMS, PROCESSES = 25, 500, 2
PIECES = 8
ROUNDS = 1  # of calls after each stream
WORD = re.compile(rb"word-[0-9a-f]{24}")
LEAVES, BREAKS = 0.4, 0.1  # of the streams
MODEL_INPUT = {"type": "object", "required": ["messages"], "properties": {"messages": {"type": "array"}}}

SABOTAGES = (
    Sabotage(
        "what is remembered of one caller is told to all",
        "gateway/hotpath/snapshot.py",
        "        known = self._known.get(key)\n        if known is None:",
        "        known = next(iter(self._known.values()), None)\n        if known is None:",
    ),
    Sabotage(
        "a connection is given back before its answer ended",
        "common/outbound/connection.py",
        "        if not self._is_complete or self._is_closed or not self._is_kept_alive:\n",
        "        if self._is_closed:\n",
    ),
    Sabotage(
        "everybody's receipts are shown to everybody",
        "gateway/api.py",
        "    calls = Invocation.objects.of_organization(actor.organization)\n",
        "    calls = Invocation.objects.all()\n",
    ),
)


@dataclass(slots=True)
class Tenant:
    """An organization with a key, and its calls: request id -> the word that was asked for."""

    number: int
    organization_id: Any
    secret: str
    kept_word: str = ""  # of the first call under the idempotency key
    calls: dict[str, str] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Endpoint:
    """Says the word that it was asked for, in pieces; `at_once`: the most answers that were under way."""

    under_way: int = 0
    at_once: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        word = body["messages"][0]["content"]
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        try:
            return await self._answer(request, body, word)
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any], word: str) -> web.StreamResponse:
        random = Random(word)
        usage = {"prompt_tokens": 3, "completion_tokens": 5}
        if not body.get("stream"):
            await asyncio.sleep(0.05 * random.random())
            choice = {"index": 0, "message": {"role": "assistant", "content": word}, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(random.random())  # so that all of them are under way
        breaks = random.randrange(PIECES) if random.random() < BREAKS else None
        for number in range(PIECES):
            if number == breaks and request.transport is not None:
                request.transport.abort()
                return response
            await response.write(_event({"choices": [_choice(f"{word} {number} ")]}))
            await asyncio.sleep(0.2 * random.random())
        await response.write(_event({"choices": [_choice(None, "stop")]}))
        await response.write(_event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        return response


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _choice(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}


def run(context: Context) -> Result:
    from common.ids import uuid7
    from trust import world

    endpoint = context.ground.upstream
    # Of the streams whose callers leave, a few are read on to their end, and the others cut off in the middle.
    webs = context.ground.start_webs(PROCESSES, GATEWAY_CIRCUIT_FAILURES="0", GATEWAY_DRAINS="5")
    spec = {"input": MODEL_INPUT, "output": {"type": "object"}}
    ai_model = world.make_model(context.ground, name="Says words", api_spec=spec)
    from gateway.services import set_endpoint

    set_endpoint(ai_model=ai_model, url=endpoint.url, protocol="openai")
    people = [world.make_person() for _ in range(TENANTS)]
    secrets = [world.make_key(user, permissions=["models:invoke", "analytics:read"])[1] for user in people]
    for trial in context.each():
        tenants = [
            Tenant(number, user.personal_organization.pk, secret)
            for number, (user, secret) in enumerate(zip(people, secrets, strict=True))
        ]
        behaviour = endpoint.behave = Endpoint()
        key = f"everybodys-{uuid7()}"  # new in a replay too, which has other words first
        asyncio.run(Crowd(context, webs, ai_model.public_id, tenants, key, trial.random).go())
        context.worst("at_once", behaviour.at_once)
        _judge_owners(context, tenants)
    return context.result()


class Crowd:
    """All of them together."""

    def __init__(
        self, context: Context, webs: list[Web], model: str, tenants: list[Tenant], key: str, random: Random
    ) -> None:
        """key: the idempotency key that every one of them uses."""
        self._context, self._webs, self._model, self._tenants, self._random = context, webs, model, tenants, random
        self._key = key
        self._made = Counter[str]()

    async def go(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)  # less than the server's, which would hang up
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self._session = session
            streams = [self._one(number, Random(self._random.random())) for number in range(STREAMS)]
            await asyncio.gather(*streams)
            await asyncio.gather(*(self._look(tenant) for tenant in self._tenants))
        for what, count in sorted(self._made.items()):
            self._context.worst(what, count)

    async def _one(self, number: int, random: Random) -> None:
        tenant = self._tenants[number % len(self._tenants)]
        site = self._webs[random.randrange(len(self._webs))].url
        await self._stream(tenant, site, _word(random), random)
        for _ in range(ROUNDS):
            await self._ask(tenant, site, _word(random))
        await self._repeat(tenant, site, _word(random))

    async def _stream(self, tenant: Tenant, site: str, word: str, random: Random) -> None:
        leaves_after = random.randrange(1, 2000) if random.random() < LEAVES else None
        received, whole = b"", False
        try:
            async with self._post(tenant, site, word, stream=True) as answer:
                self._note(tenant, answer, word)
                async for piece in answer.content.iter_any():
                    received += piece
                    if leaves_after is not None and len(received) >= leaves_after:
                        answer.close()
                        self._made["left"] += 1
                        break
                else:
                    whole = True
        except aiohttp.ClientError as error:
            self._context.violation(f"a stream ended with {type(error).__name__} {error}")
            return
        self._check(word, received)
        if not whole:
            return
        if b'"error"' in received:
            self._made["broke"] += 1
            return
        self._made["whole"] += 1
        said = b"".join(re.findall(rb'"content":"([^"]*)"', received.replace(b'": "', b'":"')))
        wanted = "".join(f"{word} {number} " for number in range(PIECES)).encode()
        self._context.expect(said == wanted, f"an answer is not what was said: {said[:80]!r}")

    async def _ask(self, tenant: Tenant, site: str, word: str) -> None:
        async with self._post(tenant, site, word) as answer:
            self._note(tenant, answer, word)
            body = await answer.read()
        self._check(word, body)
        self._context.expect(word.encode() in body, f"an answer is {answer.status} {body[:80]!r}")

    async def _repeat(self, tenant: Tenant, site: str, word: str) -> None:
        """Every organization has sent a call of its own under this key; a repeat is answered as the first was."""
        async with tenant.lock:
            word = tenant.kept_word = tenant.kept_word or word
            async with self._post(tenant, site, word, key=self._key) as answer:
                if "idempotency-replayed" not in answer.headers:
                    self._note(tenant, answer, word)
                else:
                    self._made["replayed"] += 1
                body = await answer.read()
        self._check(word, body)
        self._context.expect(word.encode() in body, f"a repeated answer is {answer.status} {body[:80]!r}")

    async def _look(self, tenant: Tenant) -> None:
        """The newest calls that the organization is shown are its own."""
        headers = {"Authorization": f"Bearer {tenant.secret}"}
        async with self._session.get(f"{self._webs[0].url}/api/requests?limit=50", headers=headers) as answer:
            rows = (await answer.json())["data"]
        foreign = [row["id"] for row in rows if row["id"] not in tenant.calls]
        self._context.expect(bool(rows) and not foreign, f"{len(foreign)} of {len(rows)} receipts are somebody else's")

    def _post(self, tenant: Tenant, site: str, word: str, *, stream: bool = False, key: str = "") -> Any:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": word}],
            "stream": stream,
            "max_tokens": 20,
        }
        given = {"Authorization": f"Bearer {tenant.secret}"} | ({"Idempotency-Key": key} if key else {})
        return self._session.post(f"{site}/v1/chat/completions", json=body, headers=given)

    def _note(self, tenant: Tenant, answer: aiohttp.ClientResponse, word: str) -> None:
        """The call that an answer stands for, so that its row can be looked at."""
        self._made["calls"] += 1
        tenant.calls[answer.headers.get("x-request-id", word)] = word

    def _check(self, word: str, received: bytes) -> None:
        foreign = set(WORD.findall(received)) - {word.encode()}
        self._context.expect(not foreign, f"whoever asked for {word} is told {len(foreign)} words of others")


def _word(random: Random) -> str:
    return f"word-{random.getrandbits(96):024x}"


def _judge_owners(context: Context, tenants: list[Tenant]) -> None:
    """Every call belongs to the organization that made it."""
    from common.ids import decode
    from gateway.models import Invocation

    for tenant in tenants:
        ids = [decode("req", id) for id in tenant.calls if id.startswith("req_")]
        calls = Invocation.objects.filter(pk__in=ids)
        wrong = calls.exclude(organization_id=tenant.organization_id).count()
        context.expect(wrong == 0, f"{wrong} calls of an organization are somebody else's")
        context.expect(calls.count() == len(ids), f"{len(ids) - calls.count()} calls have no row")
