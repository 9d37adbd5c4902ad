"""A stream is settled once, however it ends: by the usage that was reported in time, else by what was delivered, and
never by more than was held; and its upstream is let go.

A trial is one stream whose end is chosen by chance: the client closes at some byte or stays; the upstream ends well,
falls silent, resets the connection, reports an error or goes on talking; before that it reports its usage once, twice,
not at all, or in a way that nobody can believe. Ten are under way at a time, on a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from common.ids import decode
from trust.harness import Context, Result
from trust.registry import Sabotage
from trust.zygote import Zygote

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web

    from trust.calls import Market

PER = 10
IDLE_SECONDS = 1  # of silence, after which an upstream is given up on
LET_GO_SECONDS = 6.0  # after the end of the stream, of a machine that may be slow
SETTLED_SECONDS = 30.0
MAX_OUTPUT_TOKENS = 400
BELIEVED = 100_000_000  # tokens in a report
ENDINGS = ("done", "done", "stall", "reset", "error", "talk")

SABOTAGES = (
    Sabotage(
        "a client that leaves ends the reading",
        "gateway/hotpath/stream.py",
        "            until += DRAIN_SECONDS\n",
        "            until += 0\n",
    ),
    Sabotage(
        "a stream is settled only at its end",
        "gateway/hotpath/stream.py",
        "        if problem is not None and not (self._has_begun and (self._texts or reported is not None)):\n",
        "        if problem is not None:\n",
    ),
    Sabotage(
        "an upstream is read on without end",
        "gateway/hotpath/stream.py",
        "                        if self._drained_bytes > DRAIN_BYTES:\n",
        "                        if self._drained_bytes > 10**12:\n",
    ),
    Sabotage(
        "reports are added up",
        "gateway/adapters/openai.py",
        "            self.usage = found\n",
        "            before = self.usage or Usage(0, 0)\n"
        "            self.usage = Usage(\n"
        "                before.input_tokens + found.input_tokens, before.output_tokens + found.output_tokens\n"
        "            )\n",
    ),
    Sabotage(
        "any report is believed",
        "gateway/adapters/__init__.py",
        "                    if type(found) is not int or not 0 <= found <= MAX_TOKENS:\n"
        "                        return None\n",
        "                    found = abs(int(found))\n",
    ),
    Sabotage(
        "what was delivered is not counted",
        "gateway/hotpath/stream.py",
        "            call.delivered_bytes += said.text_bytes\n",
        "            call.delivered_bytes += 0\n",
    ),
)


@dataclass(slots=True)
class Script:
    """What happens in one stream, and what did. `leave_at`: bytes after which the client closes; None: it stays."""

    texts: Sequence[str]
    pace: float
    usages: Sequence[Any]
    ending: str
    leave_at: int | None
    id: UUID | None = None
    received: bytes = b""
    ended: float = 0.0  # for the client
    let_go: float = 0.0  # for the upstream
    told: str = ""
    reports: list[Any] = field(default_factory=list)  # that went out
    has_spoken: bool = False  # all that it says before its end

    @classmethod
    def of(cls, random: Random) -> Script:
        texts = ["abcd" * random.randint(1, 8) for _ in range(random.choice([0, 1, 5, 12]))]
        output = random.randint(1, 90)
        good = {"prompt_tokens": random.randint(0, 30), "completion_tokens": output}
        usages: Sequence[Any] = random.choice(
            [
                [good],
                [{**good, "completion_tokens": 1}, good],
                [],
                [{**good, "completion_tokens": -output}],
                [good, {**good, "prompt_tokens": -1}],
                [{**good, "completion_tokens": BELIEVED // 2}],
                [{**good, "completion_tokens": BELIEVED * 10**6}],
                [{**good, "completion_tokens": f"{output}"}],
                [{"prompt_tokens": 0, "completion_tokens": 0}],
            ]
        )
        leave_at = random.choice([None, 0, random.randint(1, 400), random.randint(400, 3000)])
        ending = random.choice(ENDINGS)
        return cls(
            texts=texts,
            pace=random.choice([0.0, 0.01, 0.03]),
            usages=usages,
            ending="stall" if ending == "talk" and leave_at is None else ending,
            leave_at=leave_at,
        )

    @property
    def reported(self) -> tuple[int, int] | None:
        """The last report that can be believed, of those that went out."""
        for usage in reversed(self.reports):
            counts = (usage["prompt_tokens"], usage["completion_tokens"])
            if all(type(count) is int and 0 <= count <= BELIEVED for count in counts):
                return counts
        return None

    @property
    def received_text(self) -> int:
        """Bytes of text that the client got, in whole events."""
        size = 0
        for event in self.received.split(b"\n\n")[:-1]:
            with contextlib.suppress(ValueError):
                for choice in json.loads(event.removeprefix(b"data: ")).get("choices", ()):
                    size += len(choice["delta"].get("content") or "")
        return size

    def __str__(self) -> str:
        left = "stays" if self.leave_at is None else f"leaves at byte {self.leave_at}"
        return f"a stream of {len(self.texts)} texts that ends in {self.ending}, usage {self.usages}, client {left}:"


def run(context: Context) -> Result:
    from gateway.services import check_books, set_endpoint
    from trust.calls import Market

    ground = context.ground
    with ground.another_database(), Zygote(ground.given(), ground.directory / "log" / "forked.log") as zygote:
        market = Market.open(ground)
        set_endpoint(
            ai_model=market.per_token, url=ground.upstream.url, protocol="openai", timeout_seconds=IDLE_SECONDS
        )
        upstream = Upstream()
        ground.upstream.behave = upstream
        gateway = zygote.start_web()
        for trial in context.each(per=PER):
            scripts = [Script.of(trial.random) for _ in range(trial.size)]
            upstream.scripts = scripts
            asyncio.run(_call_all(market, gateway.url, scripts))
            _wait_until_settled(context)
            _wait_until_let_go(scripts)
            for script in scripts:
                _judge(context, script)
            context.expect(gateway.runs, "the process has ended")
        for wrong in check_books():
            context.violation(wrong)
    return context.result()


# --- The upstream -----------------------------------------------------------------------------------------------------


class Upstream:
    """Acts out the script that the request names."""

    def __init__(self) -> None:
        self.scripts: Sequence[Script] = ()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        script = self.scripts[int((await request.json())["messages"][0]["content"])]
        script.id = decode("req", request.headers["X-Agorai-Request-Id"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            await self._act(script, request, response)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            script.let_go = time.monotonic()
        return response

    async def _act(self, script: Script, request: web.Request, response: web.StreamResponse) -> None:
        from gateway.tests.upstream import chunk

        for text in script.texts:
            await response.write(_event(chunk(text)))
            await asyncio.sleep(script.pace)
        if script.texts:
            await response.write(_event(chunk(finish="stop")))
        for usage in script.usages:
            await response.write(_event(chunk(choices=False, usage=usage)))
            script.reports.append(usage)
        script.has_spoken = True
        match script.ending:
            case "done":
                await response.write(b"data: [DONE]\n\n")
            case "reset" if request.transport is not None:
                await asyncio.sleep(0.05)  # or what was written before may be lost
                request.transport.abort()
            case "error":
                await response.write(_event({"error": {"message": "no"}}))
                await self._until_let_go(request)
            case "stall":
                await self._until_let_go(request)
            case "talk":
                while not _is_let_go(request):
                    await response.write(_event(chunk() | {"padding": "x" * 4000}))
                    await asyncio.sleep(0.002)

    @staticmethod
    async def _until_let_go(request: web.Request) -> None:
        deadline = time.monotonic() + 60
        while not _is_let_go(request) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)


def _is_let_go(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


# --- The clients ------------------------------------------------------------------------------------------------------


async def _call_all(market: Market, url: str, scripts: Sequence[Script]) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        await asyncio.gather(*(_call(session, market, url, number, one) for number, one in enumerate(scripts)))


async def _call(session: aiohttp.ClientSession, market: Market, url: str, number: int, script: Script) -> None:
    import aiohttp

    path, body = market.request("stream")
    body |= {"messages": [{"role": "user", "content": str(number)}], "max_tokens": MAX_OUTPUT_TOKENS}
    headers = {"Authorization": f"Bearer {market.keys[number % len(market.keys)]}"}
    try:
        if script.leave_at == 0:
            await asyncio.wait_for(_ask(session, url + path, body, headers, script), 0.03)
        else:
            await _ask(session, url + path, body, headers, script)
    except TimeoutError:
        pass
    except (aiohttp.ClientError, ConnectionError) as error:
        script.told = type(error).__name__
    script.ended = time.monotonic()


async def _ask(session: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str], script: Script) -> None:
    async with session.post(url, json=body, headers=headers) as response:
        script.told = str(response.status)
        while script.leave_at is None or len(script.received) < script.leave_at:
            most = 65_536 if script.leave_at is None else script.leave_at - len(script.received)
            data = await response.content.read(most)
            if not data:
                return
            script.received += data
        response.close()


# --- The judgement ----------------------------------------------------------------------------------------------------


def _wait_until_settled(context: Context) -> None:
    from django.db import connection

    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM gateway_invocation WHERE state = 'started'")
            (open_calls,) = cursor.fetchone()
        if not open_calls:
            return
        if time.monotonic() > deadline:
            context.violation(f"{open_calls} streams are open {SETTLED_SECONDS:.0f} s after their end")
            return
        time.sleep(0.05)


def _wait_until_let_go(scripts: Sequence[Script]) -> None:
    deadline = time.monotonic() + LET_GO_SECONDS
    while any(script.id and not script.let_go for script in scripts) and time.monotonic() < deadline:
        time.sleep(0.02)


def _judge(context: Context, script: Script) -> None:
    from billing.models import UsageEvent
    from gateway.models import Invocation
    from gateway.services.policy import RATED
    from marketplace.services.pricing import cost_of

    expect = context.expect
    if script.id is None:  # nothing was sent, so nothing may be charged: the books say so
        return
    expect(script.has_spoken, f"{script} its upstream is cut off before it has reported")
    if expect(bool(script.let_go), f"{script} its upstream is not let go"):
        late = script.let_go - script.ended
        context.worst("let_go_after_seconds", max(late, 0.0))
        expect(late < LET_GO_SECONDS, f"{script} its upstream is let go after {late:.1f} s")
    call = Invocation.objects.filter(pk=script.id).select_related("price").first()
    if not expect(call is not None and call.state == "final", f"{script} it is not settled") or call is None:
        return
    events = list(UsageEvent.objects.filter(pk=script.id).values_list("cost_nano", flat=True))
    expect(events == [call.cost_nano], f"{script} its usage events are {events}")
    expect(call.cost_nano <= call.hold_nano, f"{script} it costs more than its hold")
    due = cost_of(call.price, input_tokens=call.input_tokens, output_tokens=call.output_tokens)
    if call.rule in RATED:
        expect(call.cost_nano + call.overrun_nano == due, f"{script} {due} is due and {call.cost_nano} charged")
    _judge_quantities(context, script, call)


def _judge_quantities(context: Context, script: Script, call: Any) -> None:
    expect, counts = context.expect, (call.input_tokens, call.output_tokens)
    received, sent = script.received_text, sum(len(text) for text in script.texts)
    is_silent = not script.texts and not (script.ending == "talk" and script.reported is not None)
    if is_silent:
        expect(call.cost_nano == 0, f"{script} nothing was delivered and {call.cost_nano} is charged ({call.rule})")
    elif script.reported is not None:
        right = call.rule == "usage_reported" and counts == script.reported
        expect(right, f"{script} {script.reported} was reported and {counts} charged ({call.rule})")
    else:
        expect(call.rule == "usage_counted", f"{script} it is charged by {call.rule}")
        within = received // 4 <= call.output_tokens <= -(-sent // 4)
        got = f"{received} bytes were delivered of {sent}"
        expect(within, f"{script} {got}, and {call.output_tokens} tokens are charged")
    worked = bool(received) and script.reported not in ((0, 0),)
    expect(not worked or call.cost_nano > 0, f"{script} {received} bytes were delivered and nothing is charged")
