"""Slow clients do not keep others from being served, behind the front proxy that is shipped.

A trial: 500 connections, of which some send a byte of their headers each ten seconds, some a byte of their body, and
some take a byte of a stream each second, until each of them has been cut off; whichever is, is followed by another.
Meanwhile honest callers call. Timed: what they wait for, beside what they waited for just before.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trust.front import front, lacks, wanted_of_web
from trust.harness import Context, Result
from trust.registry import Sabotage
from trust.slow import Slow

__all__ = ["SABOTAGES", "lacks", "run"]

if TYPE_CHECKING:
    from aiohttp import web

    from trust.ground import Ground

CONNECTIONS = {"headers": 200, "body": 150, "reading": 150}
#: What ops/nginx.conf allows each, and some seconds for a machine that is busy. Until a reader that takes nothing is
#: noticed, the buffers between must have filled.
LIMITS = {"headers": 10 + 5, "body": 8 + 5, "reading": 10 + 20}
SUCCESS = 0.999
CALLERS = 6
CONTROL_SECONDS = 3.0
PAUSE_SECONDS = 0.004
FRESH_EVERY = 10  # of an honest caller's calls, one is on a new connection
TIMES_LONGER, LONGER_MS = 2, 10
EVENT = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 16_000}}]}).encode() + b"\n\n"
EVENTS, PAUSE_BETWEEN_SECONDS = 1000, 0.08  # 16 MB, more than all buffers hold, at 200 KB a second

SABOTAGES = (
    Sabotage(
        "past the front proxy",
        "trust/front.py",
        "yield Front(port, log)",
        "yield Front(_port_of(gateway), log)",
    ),
    Sabotage(
        "headers take as long as they like",
        "ops/nginx.conf",
        "client_header_timeout 10s;",
        "client_header_timeout 1h;",
    ),
    Sabotage(
        "a body takes as long as it likes",
        "ops/nginx.conf",
        "client_body_timeout 8s;",
        "client_body_timeout 1h;",
    ),
    Sabotage(
        "an answer is taken as slowly as one likes",
        "ops/nginx.conf",
        "send_timeout 10s;",
        "send_timeout 1h;",
    ),
)


@dataclass(slots=True)
class Honest:
    """What honest callers met."""

    took: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.took) + len(self.failed)

    @property
    def p99_ms(self) -> float:
        ordered = sorted(self.took)
        return ordered[int(len(ordered) * 0.99)] * 1000 if ordered else 0.0


def run(context: Context) -> Result:
    from trust import world

    ground = context.ground
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    invoke = f"/api/models/{world.make_model(ground).public_id}/invoke"
    chat = _make_chat(ground)
    secret = world.make_key(world.make_person())[1]
    ground.upstream.behave = _behave()
    (gateway,) = ground.start_webs(1, **wanted_of_web())
    with front(gateway, gateway) as proxy:
        for _trial in context.each():
            asyncio.run(_trial_of(context, proxy.url, invoke, chat, secret))
    gateway.stop(kill=True)  # how calls end with their process is tried elsewhere
    return context.result()


def _make_chat(ground: Ground) -> str:
    """A free model that streams; its slug."""
    from gateway import services as gateway
    from marketplace import services as marketplace
    from trust import world

    publisher = world.make_person(platform_role="developer").personal_organization
    ai_model = marketplace.create_model(
        publisher=publisher,
        name="Talk",
        description="Talks without end.",
        version="1.0.0",
        category="text-generation",
        api_spec={"input": {"type": "object"}, "output": {"type": "object"}},
        pricing=marketplace.Terms(type="free"),
    )
    gateway.set_endpoint(ai_model=ai_model, url=f"{ground.upstream.url}/v1", protocol="openai", secret="up-s3cret")
    marketplace.submit(ai_model=ai_model)
    marketplace.publish(ai_model=ai_model, by_staff=True)
    return f"{publisher.slug}/{ai_model.slug}"


def _behave() -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A stream that is larger than all buffers on its way, faster than any reader here; else what was asked."""
    from aiohttp import web

    async def behave(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if not body.get("stream"):
            return web.json_response({"label": body.get("text", "")})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for _ in range(EVENTS):
                await response.write(EVENT)
                await asyncio.sleep(PAUSE_BETWEEN_SECONDS)
        except OSError:
            return response
        await response.write(b"data: [DONE]\n\n")
        return response

    return behave


async def _trial_of(context: Context, url: str, invoke: str, chat: str, secret: str) -> None:
    control = await _call_for(url + invoke, secret, CONTROL_SECONDS)
    context.expect(not control.failed, f"without slow clients a call fails: {control.failed[:1]}")
    over, honest = asyncio.Event(), Honest()
    callers = asyncio.create_task(_call(url + invoke, secret, honest, over))
    try:
        cut = await asyncio.to_thread(_crawl, context, urlsplit(url).port or 0, invoke, chat, secret)
    finally:
        over.set()
        await callers
    for kind, after in cut.items():
        context.worst(f"{kind}_cut_after_seconds", after)
    context.worst("control_p99_ms", control.p99_ms)
    context.worst("p99_ms", honest.p99_ms)
    rate = len(honest.took) / max(honest.count, 1)
    context.expect(honest.count >= CALLERS, "honest callers were not answered at all")
    context.expect(
        rate >= SUCCESS, f"{len(honest.failed)} of {honest.count} honest calls fail, such as {honest.failed[:1]}"
    )
    context.worst("honest_calls", honest.count)
    if context.timing:
        most = max(control.p99_ms * TIMES_LONGER, control.p99_ms + LONGER_MS)
        context.expect(
            honest.p99_ms <= most, f"p99 is {honest.p99_ms:.1f} ms beside slow clients, {control.p99_ms:.1f} without"
        )


# --- Who is slow ---


def _crawl(context: Context, port: int, invoke: str, chat: str, secret: str) -> dict[str, float]:
    """Keeps the connections up until each of the first was cut off. By kind, how long the last of them lasted."""
    makers = _makers(port, invoke, chat, secret)
    first = [slow for kind, count in CONNECTIONS.items() for slow in (next(makers[kind]) for _ in range(count))]
    living = list(first)
    try:
        for slow in living:
            slow.open()
        while any(slow.cut_after is None for slow in first):
            for position, slow in enumerate(living):
                slow.step()
                if slow.is_overdue:
                    context.violation(f"a client that is slow at {slow.kind} still holds on after {slow.limit} s")
                    slow.cut_after = slow.limit
                    slow.close()
                if slow.cut_after is not None:
                    living[position] = next(makers[slow.kind])
                    living[position].open()
            time.sleep(0.1)
    finally:
        for slow in living:
            slow.close()
    return {kind: max(slow.cut_after or 0 for slow in first if slow.kind == kind) for kind in CONNECTIONS}


def _makers(port: int, invoke: str, chat: str, secret: str) -> dict[str, Iterator[Slow]]:
    """By kind, as many of them as are wanted."""
    head = (
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\nContent-Length: {{length}}\r\n\r\n"
    )
    stream = json.dumps({"model": chat, "messages": [{"role": "user", "content": "x"}], "stream": True})
    body = json.dumps({"text": "x" * 1000})
    headers = head.format(path=invoke, length=len(body))
    texts = {
        "headers": (headers, headers.index("\r\n") + 2),
        "body": (headers + body, len(headers) + 5),
        "reading": ((whole := head.format(path="/v1/chat/completions", length=len(stream)) + stream), len(whole)),
    }

    def make(kind: str) -> Iterator[Slow]:
        text, at_once = texts[kind]
        number = 0
        while True:
            yield Slow(kind, text.encode(), at_once, LIMITS[kind], port, number)
            number += 1

    return {kind: make(kind) for kind in CONNECTIONS}


# --- Who is not ---


async def _call_for(url: str, secret: str, seconds: float) -> Honest:
    over, honest = asyncio.Event(), Honest()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await _call(url, secret, honest, over)
    return honest


async def _call(url: str, secret: str, honest: Honest, over: asyncio.Event) -> None:
    await asyncio.gather(*(_caller(url, secret, honest, over) for _ in range(CALLERS)))


async def _caller(url: str, secret: str, honest: Honest, over: asyncio.Event) -> None:
    import aiohttp

    headers = {"Authorization": f"Bearer {secret}", "Host": "localhost"}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        count = 0
        while not over.is_set():
            count += 1
            extra = {"Connection": "close"} if count % FRESH_EVERY == 0 else {}
            began = time.perf_counter()
            try:
                async with session.post(url, json={"text": "honest"}, headers=extra) as response:
                    text = await response.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                honest.failed.append(type(error).__name__)
                continue
            if response.status == 200 and "honest" in text:
                honest.took.append(time.perf_counter() - began)
            else:
                honest.failed.append(f"{response.status} {text[:80]}")
            await asyncio.sleep(PAUSE_SECONDS)
