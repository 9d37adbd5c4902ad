"""A key with a dollar spends a dollar, however many calls are made at once and whatever they turn out to cost.

A trial is two hundred concurrent calls with one key, over two gateway processes. What each costs is known at its end
alone. Some say how much they want at most, the others are streams without a bound, whose holds grow as they go on:
these may use up one step beyond what they are charged, and no more. All the while somebody looks at the limit.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from trust.harness import Context, Result
from trust.registry import Sabotage
from trust.zygote import Zygote

if TYPE_CHECKING:
    from uuid import UUID

    import aiohttp
    from aiohttp import web

    from trust.calls import Market
    from trust.ground import Ground

PROCESSES, CALLS = 2, 200
LIMIT_NANO = 1_000_000_000  # a dollar
PER_TOKEN_NANO = 10_000  # ten dollars for a million
MOST_TOKENS = 7_000  # of an answer
TEXT_TOKENS = 100  # of an event
LEAST_ADMITTED = 12  # fewer, and it is not the limit that was tried

BATCH = "gateway/migrations/0012_a_batch_that_says_once_what_its_calls_share.py"
SABOTAGES = (
    Sabotage(
        "nobody looks at what is left",
        BATCH,
        'RETURNING d.adds = 0 OR b.spent + b.held <= b."limit" AS fits',
        "RETURNING true AS fits",
    ),
    Sabotage(
        "what is held by others is not counted",
        BATCH,
        'RETURNING d.adds = 0 OR b.spent + b.held <= b."limit" AS fits',
        'RETURNING d.adds = 0 OR b.spent + d.adds <= b."limit" AS fits',
    ),
    Sabotage(
        "a step is held whatever is left",
        "gateway/migrations/0007_usage_that_is_noted_and_confirmed.py",
        'AND b.spent + b.held + step > b."limit"',
        'AND b.spent + step - step > b."limit"',
    ),
    Sabotage(
        "a hold does not grow",
        "gateway/hotpath/stream.py",
        "        while call.held_tokens is not None and self._generated_tokens > call.held_tokens:\n",
        "        while call.held_tokens is not None and self._generated_tokens > 10**9:\n",
    ),
)


def run(context: Context) -> Result:
    from gateway.services import check_books
    from trust.calls import Market

    ground = context.ground
    with ground.another_database(), Zygote(ground.given(), ground.directory / "log" / "forked.log") as zygote:
        market = Market.open(ground)
        _reprice(market)
        ground.upstream.behave = _behave
        urls = [zygote.start_web().url for _ in range(PROCESSES)]
        for trial in context.each():
            key_id, secret = _make_key(market)
            bounds = [trial.random.choice([None, trial.random.randint(500, 4000)]) for _ in range(CALLS)]
            with _watched(context, ground, key_id):
                answers = asyncio.run(_call_all(market, urls, secret, bounds))
            _judge(context, key_id, answers)
        for wrong in check_books():
            context.violation(wrong)
    return context.result()


def _reprice(market: Market) -> None:
    from marketplace import services as marketplace

    rate = PER_TOKEN_NANO * 10**6
    terms = marketplace.Terms(type="paid", input_nano_per_million=rate, output_nano_per_million=rate)
    marketplace.set_price(ai_model=market.per_token, terms=terms)


def _make_key(market: Market) -> tuple[UUID, str]:
    from apikeys.services import SpendLimit
    from trust import world

    key, secret = world.make_key(market.consumer, spend_limit=SpendLimit(LIMIT_NANO, "lifetime"))
    return key.id, secret


# --- The upstream -----------------------------------------------------------------------------------------------------


async def _behave(request: web.Request) -> web.StreamResponse:
    """Says as much as follows from the call's id, within the bound, and reports what it said."""
    from aiohttp import web

    from common.ids import decode
    from gateway.tests.upstream import chunk

    body = await request.json()
    chance = decode("req", request.headers["X-Agorai-Request-Id"]).int & 0xFFFF
    tokens = min(chance % MOST_TOKENS, body.get("max_tokens", MOST_TOKENS)) // TEXT_TOKENS * TEXT_TOKENS
    usage = {"prompt_tokens": 5, "completion_tokens": tokens}
    if not body.get("stream"):
        await asyncio.sleep(0.2 * chance / 0xFFFF)
        message = {"role": "assistant", "content": "hello"}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    try:
        await response.prepare(request)
        for _ in range(tokens // TEXT_TOKENS):
            await response.write(_event(chunk("abcd" * TEXT_TOKENS)))
            await asyncio.sleep(0.004)
        await response.write(_event(chunk(finish="stop")) + _event(chunk(choices=False, usage=usage)))
        await response.write(b"data: [DONE]\n\n")
    except ConnectionError:  # the gateway has heard enough
        pass
    return response


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


# --- The callers ------------------------------------------------------------------------------------------------------


async def _call_all(market: Market, urls: list[str], secret: str, bounds: list[int | None]) -> Counter[str]:
    """How many were answered, and how many refused by which code; of streams, also in the middle."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        calls = (_call(session, market, urls[n % len(urls)], secret, bound) for n, bound in enumerate(bounds))
        return Counter(await asyncio.gather(*calls))


async def _call(session: aiohttp.ClientSession, market: Market, url: str, secret: str, bound: int | None) -> str:
    path, body = market.request("stream")
    if bound is None:
        del body["max_tokens"]
    else:
        body |= {"max_tokens": bound, "stream": bound % 2 == 0}
    async with session.post(url + path, json=body, headers={"Authorization": f"Bearer {secret}"}) as response:
        raw = await response.read()
        if response.status != 200:
            return f"{response.status} {json.loads(raw)['error']['code']}"
        return "ended in the middle" if b'"spend_limit_reached"' in raw else "answered"


# --- The judgement ----------------------------------------------------------------------------------------------------


@contextmanager
def _watched(context: Context, ground: Ground, key_id: UUID) -> Iterator[None]:
    """While this lasts, somebody looks again and again whether more is spent and held than the limit."""
    is_over = threading.Event()
    worst = [0]

    def look() -> None:
        with psycopg.connect(ground.owner_url, autocommit=True) as connection:
            while not is_over.wait(0.005):
                row = connection.execute(
                    "SELECT spent + held FROM accounts_budget WHERE subject_id = %s", [key_id]
                ).fetchone()
                worst[0] = max(worst[0], int(row[0]) if row else 0)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(10)
    context.worst("spent_and_held_dollars", worst[0] / LIMIT_NANO)
    context.expect(worst[0] <= LIMIT_NANO, f"{worst[0]} were spent and held of {LIMIT_NANO}")


def _judge(context: Context, key_id: UUID, answers: Counter[str]) -> None:
    from accounts.models import Budget
    from gateway.hotpath.rules import STEP_TOKENS
    from gateway.models import Invocation

    expect = context.expect
    strange = [code for code in answers if code not in ("answered", "ended in the middle", "402 spend_limit_reached")]
    expect(not strange, f"some calls are answered {strange}")
    calls = list(Invocation.objects.filter(api_key_id=key_id))
    deadline = time.monotonic() + 10
    while any(call.state != "final" for call in calls) and time.monotonic() < deadline:
        time.sleep(0.05)
        calls = list(Invocation.objects.filter(api_key_id=key_id))
    spent = sum(call.cost_nano for call in calls)
    budget = Budget.objects.get(subject_id=key_id)
    expect(budget.spent == spent, f"the budget has spent {budget.spent}, its calls cost {spent}")
    expect(budget.held == 0, f"when all calls have ended, {budget.held} are held")
    expect(spent <= LIMIT_NANO, f"{spent} were spent of {LIMIT_NANO}")
    expect(len(calls) >= LEAST_ADMITTED, f"only {len(calls)} of {CALLS} calls were admitted")
    expect(answers["402 spend_limit_reached"] > 0, "no call was refused, so nothing was tried")
    beyond = max((call.overrun_nano for call in calls), default=0)
    context.worst("beyond_a_hold_in_tokens", beyond / PER_TOKEN_NANO)
    expect(beyond <= STEP_TOKENS * PER_TOKEN_NANO, f"a call used {beyond} beyond its hold, more than one step")
    context.worst("spent_dollars", spent / LIMIT_NANO)
    context.worst("admitted", len(calls))
