"""What a dead call held comes back, what a living one holds stays, and nobody is told that a budget is exceeded which
is not.

A trial is a few calls with a key that has room for just so many, and something that befalls them: their gateway is
killed, Redis forgets everything, their clients hang up, or they live for half an hour. The clock of the database is
moved. Afterwards nothing is held, and the key has room for as many again.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from trust.harness import Context, Result
from trust.registry import Sabotage
from trust.zygote import Forked, Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import aiohttp
    from aiohttp import web

    from trust.calls import Market
    from trust.ground import Ground

CALLS = 4  # that fit into the key's limit at a time
SILENT, DEAD = "100 seconds", "151 seconds"  # since a process was heard of
LIFE_MINUTES, STEP_MINUTES = 30, 2  # of a stream, and between two looks of the sweep; less than an orphan's silence
BEAT_SECONDS = 0.1  # in place of thirty, as the clock runs that much faster
DRAINED_SECONDS = 10.0
TURNS = ("killed", "hung up", "killed", "forgotten", "hung up")  # and one in twenty lives long

SABOTAGES = (
    Sabotage("holds without a heartbeat", "gateway/hotpath/holds.py", "    if rows:\n", "    if not rows:\n"),
    Sabotage(
        "the sweep ignores who is alive",
        "gateway/services/orphans.py",
        "    orphans = sorted(id for id, beat_at in started if beat_at < alive_since and id not in in_line)\n",
        "    orphans = sorted(id for id, beat_at in started if id not in in_line)\n",
    ),
    Sabotage(
        "what an orphan held stays held",
        "gateway/services/orphans.py",
        "        ended += _end(orphans[first : first + ENDED_AT_ONCE])\n",
        "        ended += len(orphans[first : first + ENDED_AT_ONCE])\n",
    ),
    Sabotage(
        "a client that hung up is waited for",
        "gateway/hotpath/stream.py",
        "        self._is_client_gone = True\n        self._writer.leave()\n",
        "        return\n",
    ),
)


def run(context: Context) -> Result:
    from gateway.services import check_books
    from trust.calls import Market

    ground = context.ground
    with ground.another_database(), Zygote(ground.given(), ground.directory / "log" / "forked.log") as zygote:
        endpoint = Endpoint()
        ground.upstream.behave = endpoint
        trials = Trials(context, ground, Market.open(ground), zygote, endpoint)
        for number, trial in enumerate(context.each()):
            trials.make("long" if number % 20 == 9 else TURNS[number % len(TURNS)], trial.random)
        for wrong in check_books():
            context.violation(wrong)
    return context.result()


class Endpoint:
    """Says a little, and then nothing until it is told to end well, however many wait for that; or to talk on."""

    def __init__(self) -> None:
        self.go_on, self.talk = threading.Event(), threading.Event()
        self.speaking = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        from gateway.tests.upstream import chunk

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            await response.write(_event(chunk("abcd")))
            self.speaking += 1
            while not self.go_on.is_set() and request.transport is not None:
                if self.talk.is_set():
                    await response.write(_event(chunk() | {"padding": "x" * 4000}))
                await asyncio.sleep(0.005)
            await response.write(_event(chunk(finish="stop", usage={"prompt_tokens": 7, "completion_tokens": 3})))
            await response.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass
        return response


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@dataclass(slots=True)
class Trials:
    context: Context
    ground: Ground
    market: Market
    zygote: Zygote
    endpoint: Endpoint
    gateway: Forked | None = None

    def make(self, kind: str, random: Random) -> None:
        if self.gateway is None:
            self.gateway = self.zygote.start_web()
        key_id, secret = self._make_key()
        self.endpoint.go_on.clear()
        self.endpoint.talk.clear()
        self.endpoint.speaking = 0
        if kind == "long":
            from django.db import connection

            connection.close()  # or it ends with those of the gateway when the clock is moved
            asyncio.run(self._live_long(key_id, secret))
        else:
            asyncio.run(self._befall(kind, random, key_id, secret))
        self._judge(kind, key_id, secret)

    def _make_key(self) -> tuple[UUID, str]:
        """With room for as many calls as are made, and not for one more."""
        from apikeys.services import SpendLimit
        from trust import world

        limit = SpendLimit(CALLS * self._hold() + self._hold() // 2, "lifetime")
        key, secret = world.make_key(self.market.consumer, spend_limit=limit)
        return key.id, secret

    def _hold(self) -> int:
        from trust.calls import MAX_OUTPUT_TOKENS, PER_TOKEN_NANO

        return (len(json.dumps(self._body())) + MAX_OUTPUT_TOKENS) * PER_TOKEN_NANO

    def _body(self) -> dict[str, Any]:
        return self.market.request("stream")[1]

    # --- What befalls the calls ---

    async def _befall(self, kind: str, random: Random, key_id: UUID, secret: str) -> None:
        assert self.gateway is not None
        async with _session() as session:
            calls = [asyncio.create_task(self._call(session, secret)) for _ in range(CALLS)]
            await self._until_all_speak(kind)
            await asyncio.sleep(0.05 * random.random())
            match kind:
                case "killed":
                    self.gateway.kill()
                    self.gateway.wait(5)
                    self.gateway = None
                    await asyncio.gather(*calls, return_exceptions=True)
                case "hung up":
                    for call in calls:
                        call.cancel()
                    await asyncio.gather(*calls, return_exceptions=True)
                    self.endpoint.talk.set()
                case "forgotten":
                    with self.ground.redis() as client:
                        client.flushall()
                    self.endpoint.go_on.set()
                    for raw in await asyncio.gather(*calls):
                        self.context.expect(raw.endswith(b"[DONE]\n\n"), "without Redis's memory a stream is not ended")

    async def _call(self, session: aiohttp.ClientSession, secret: str) -> bytes:
        assert self.gateway is not None
        path, body = self.market.request("stream")
        url, headers = self.gateway.url + path, {"Authorization": f"Bearer {secret}"}
        async with session.post(url, data=json.dumps(body), headers=_json(headers)) as response:
            return await response.read()

    async def _until_all_speak(self, kind: str, calls: int = CALLS) -> None:
        deadline = time.monotonic() + 20
        while self.endpoint.speaking < calls and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        if self.endpoint.speaking < calls:
            self.context.violation(f"{kind}: of {calls} calls that fit, {self.endpoint.speaking} were made")

    async def _live_long(self, key_id: UUID, secret: str) -> None:
        """A stream in a gateway of this process, whose heart beats as much faster as the clock runs."""
        from asgiref.sync import sync_to_async
        from django.test import override_settings

        from gateway.hotpath import call as call_module
        from gateway.services import settle_orphans
        from gateway.tests.asgi import Request, running_app

        usual = call_module.BEAT_SECONDS
        call_module.BEAT_SECONDS = BEAT_SECONDS  # type: ignore[assignment]
        try:
            with override_settings(DATABASE_URL=self.ground.database_url):
                async with running_app() as app:
                    path, body = self.market.request("stream")
                    request = Request(path, body, secret)
                    call = asyncio.create_task(request(app))
                    await self._until_all_speak("long", 1)
                    for minutes in range(STEP_MINUTES, LIFE_MINUTES + 1, STEP_MINUTES):
                        await sync_to_async(self._set_clock)(f"{minutes} minutes")
                        beaten = await self._until_beaten(key_id, minutes)
                        ended = await sync_to_async(settle_orphans)()
                        holds = self._held(key_id)
                        alive = beaten and not ended and holds > 0
                        if not self.context.expect(alive, f"a stream of {minutes} minutes no longer holds ({holds})"):
                            break
                    self.endpoint.go_on.set()
                    await call
                    self.context.expect(request.received.endswith(b"[DONE]\n\n"), "a long stream is not ended")
        finally:
            call_module.BEAT_SECONDS = usual
            await sync_to_async(self._set_clock)("")

    def _set_clock(self, offset: str) -> None:
        """Of the database, for whoever connects from now on; all others have to connect anew."""
        from django.db import connection

        connection.close()
        value = f"'{offset}'" if offset else "DEFAULT"
        self.ground.cluster.execute(
            f"alter database {{name}} set agorai.clock_offset to {value}", name=self.ground.database
        )
        self.ground.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = 'agorai_app'",
            superuser=True,
        )

    async def _until_beaten(self, key_id: UUID, minutes: int) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = self.ground.execute(
                "SELECT extract(epoch FROM beat_at - now()) / 60 FROM gateway_invocation WHERE api_key_id = %s"
                " AND state = 'started'",
                [key_id],
            )
            if found and found[0][0] > minutes - 1:
                return True
            await asyncio.sleep(0.05)
        return False

    # --- What must be there then ---

    def _judge(self, kind: str, key_id: UUID, secret: str) -> None:
        expect = self.context.expect
        if kind == "killed":
            with self._later(SILENT):
                expect(self._sweep() == 0, f"what was heard of {SILENT} ago is taken for dead")
            with self._later(DEAD):
                self._sweep()
        began = time.monotonic()
        while self._held(key_id) and time.monotonic() - began < (DRAINED_SECONDS if kind != "killed" else 0):
            time.sleep(0.02)
        self.context.worst("held_for_seconds_after", time.monotonic() - began)
        held = self._held(key_id)
        expect(held == 0, f"{kind}: {held} are still held")
        if kind == "long":
            return
        self.endpoint.go_on.set()  # what comes now ends at once
        if self.gateway is None:
            self.gateway = self.zygote.start_web()
        for raw in asyncio.run(self._again(secret)):
            expect(raw.endswith(b"[DONE]\n\n"), f"{kind}: a call that fits is refused: {raw[:200]!r}")

    async def _again(self, secret: str) -> list[bytes]:
        """One after the other, as many as are surely left: what was charged before took less than one's hold."""
        async with _session() as session:
            return [await self._call(session, secret) for _ in range(CALLS - 1)]

    @contextmanager
    def _later(self, offset: str) -> Iterator[None]:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('agorai.clock_offset', %s, false)", [offset])
        try:
            yield
        finally:
            connection.close()

    @staticmethod
    def _sweep() -> int:
        from gateway.services import settle_orphans

        return settle_orphans()

    def _held(self, key_id: UUID) -> int:
        return int(self.ground.execute("SELECT held FROM accounts_budget WHERE subject_id = %s", [key_id])[0][0])


def _json(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"Content-Type": "application/json"}


def _session() -> aiohttp.ClientSession:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))
