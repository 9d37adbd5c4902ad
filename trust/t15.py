"""A hostile model endpoint makes its own calls fail, and nothing else.

A trial is one call of an endpoint that answers as nobody should (`hostile.py`), in one of three ways: any JSON, a chat,
a streamed chat. Each ends within its time with a clean error or, where the answer is sound after all, with that; no
header, page or script of the endpoint gets through; the call is settled once, for no more than its hold; the process
lives, does not grow, and answers everybody else meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from trust.ground import Ground, Web
from trust.harness import Context, Result
from trust.hostile import BEHAVIOURS, MARK, SOUND, HostileUpstream
from trust.http import SECONDS, Request, open_session, send
from trust.registry import Sabotage

WAYS = ("json", "chat", "stream")
TLS = "a handshake that is cut"
NAMES = (*BEHAVIOURS, TLS)
AT_ONCE = 6
ENDPOINT_SECONDS = 2
ALLOWED_SECONDS = 15.0  # connecting, waiting for the headers, and a machine that has others to serve
ALLOWED_GROWTH = 64 * 1024 * 1024
ERRORS = (502, 503, 504)
PAUSE_SECONDS = 0.05  # between two calls of somebody else
FORBIDDEN_HEADERS = ("set-cookie", "location", "x-some", "upgrade", "content-encoding")

SABOTAGES = (
    Sabotage(
        "what comes out of a bomb is not limited",
        "common/outbound/bodies.py",
        "self._unpack.decompress(data, allowed + 1)",
        "self._unpack.decompress(data)",
    ),
    Sabotage(
        "stacked encodings are unpacked like one",
        "common/outbound/connection.py",
        "        if encoding not in WINDOWS or self._inflater is not None:\n",
        '        encoding = encoding.partition(",")[0]\n        if encoding not in WINDOWS:\n',
    ),
    Sabotage(
        "a body of any size",
        "common/outbound/connection.py",
        "        if self._size > self._max_bytes:\n",
        "        if self._size > self._max_bytes << 20:\n",
    ),
    Sabotage(
        "headers of any size",
        "common/outbound/connection.py",
        "        if self._dry > MAX_DRY_BYTES:\n",
        "        if self._dry > MAX_DRY_BYTES << 20:\n",
    ),
    Sabotage(
        "an answer may be of any type",
        "common/outbound/door.py",
        '        self._accept = headers.get("Accept", "")\n',
        '        self._accept = ""\n',
    ),
    Sabotage(
        "an answer may take any time",
        "common/outbound/connection.py",
        "        if now >= self._deadline:\n",
        "        if now >= self._deadline + 3600:\n",
    ),
    Sabotage(
        "whatever usage is reported is believed",
        "gateway/adapters/__init__.py",
        "                    if type(found) is not int or not 0 <= found <= MAX_TOKENS:\n"
        "                        return None\n",
        "",
    ),
)


@dataclass(slots=True)
class Shot:
    """One call. `id`: of its receipt."""

    name: str
    way: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    fault: str = ""

    @property
    def id(self) -> str:
        return self.headers.get("x-request-id", "")

    def __str__(self) -> str:
        return f"{self.name} ({self.way})"


def run(context: Context) -> Result:
    with HostileUpstream() as upstream:
        web = context.ground.start_web(
            WELCOME_CREDIT="1000",
            GATEWAY_CIRCUIT_FAILURES="0",  # or the endpoint would be left alone before it has tried everything
        )
        house = _make_house(context.ground, upstream)
        asyncio.run(_warm_up(web, house))
        for trial in context.each(per=len(NAMES) * len(WAYS)):
            shots = [Shot(name, way) for way in WAYS for name in NAMES]
            trial.random.shuffle(shots)
            shots = [shots[number % len(shots)] for number in range(trial.size)]
            with Watch(web) as watch:
                others = asyncio.run(_fire(web, house, shots))
            context.worst("grown_mib", watch.grown / 2**20)
            context.expect(watch.grown <= ALLOWED_GROWTH, f"the process grows by {watch.grown >> 20} MiB")
            context.expect(web.process.poll() is None, f"the process ends with {web.process.returncode}")
            for shot in shots:
                _judge(context, shot)
            _judge_others(context, others)
            _judge_books(context, house, shots)
    return context.result()


def _make_house(ground: Ground, upstream: HostileUpstream) -> SimpleNamespace:
    """Somebody with credit and a key, the hostile models at their names, and a good one of somebody else."""
    from gateway import services as gateway
    from marketplace.services import Terms
    from trust import world

    paid = Terms(type="paid", input_nano_per_million=10**9, output_nano_per_million=10**9)
    spec = {"input": {"type": "object"}, "output": {"type": "object"}}
    models = {}
    for name, protocol, url in (
        ("json", "json", upstream.url),
        ("chat", "openai", upstream.url),
        ("tls json", "json", upstream.tls_url),
        ("tls chat", "openai", upstream.tls_url),
    ):
        made = world.make_model(ground, name=f"Hostile {name}", api_spec=spec, pricing=paid)
        gateway.set_endpoint(ai_model=made, url=url, protocol=protocol, timeout_seconds=ENDPOINT_SECONDS)
        models[name] = made
    user = world.make_person()
    return SimpleNamespace(
        secret=world.make_key(user)[1],
        models=models,
        good=world.make_model(ground, name="Good"),
        other=world.make_key(world.make_person())[1],
    )


def _request(web: Web, house: SimpleNamespace, shot: Shot) -> Request:
    model = house.models[f"{'tls ' if shot.name == TLS else ''}{'json' if shot.way == 'json' else 'chat'}"]
    if shot.way == "json":
        return Request("POST", f"{web.url}/api/models/{model.public_id}/invoke", {"text": shot.name}, house.secret)
    body = {
        "model": model.public_id,
        "messages": [{"role": "user", "content": shot.name}],
        "max_tokens": 10,
        "stream": shot.way == "stream",
    }
    return Request("POST", f"{web.url}/v1/chat/completions", body, house.secret)


def _good_request(web: Web, house: SimpleNamespace) -> Request:
    return Request("POST", f"{web.url}/api/models/{house.good.public_id}/invoke", {"text": "x"}, house.other)


async def _warm_up(web: Web, house: SimpleNamespace) -> None:
    """The first calls load what every later one needs, and the largest sound answer has been read once."""
    async with open_session() as session:
        for way in WAYS:
            for name in ("too much usage", "a body without end"):
                await _shoot(session, web, house, Shot(name, way))
        for _ in range(20):
            await send(session, _good_request(web, house))


async def _fire(web: Web, house: SimpleNamespace, shots: list[Shot]) -> list[tuple[int, float]]:
    """All of them, some at a time. Returns status and seconds of what others asked meanwhile."""
    places, ended, others = asyncio.Semaphore(AT_ONCE), asyncio.Event(), []

    async def one(session: aiohttp.ClientSession, shot: Shot) -> None:
        async with places:
            await _shoot(session, web, house, shot)

    async def somebody_else(session: aiohttp.ClientSession) -> None:
        while not ended.is_set():
            began = time.monotonic()
            answer = await send(session, _good_request(web, house))
            others.append((answer.status, time.monotonic() - began))
            await asyncio.sleep(PAUSE_SECONDS)

    async with open_session() as session:
        beside = asyncio.create_task(somebody_else(session))
        await asyncio.gather(*(one(session, shot) for shot in shots))
        ended.set()
        await beside
    return others


async def _shoot(session: aiohttp.ClientSession, web: Web, house: SimpleNamespace, shot: Shot) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(SECONDS / 2):
            answer = await send(session, _request(web, house, shot))
        shot.status, shot.headers, shot.body = answer.status, answer.headers, answer.body
    except (TimeoutError, aiohttp.ClientError) as error:
        shot.fault = f"{type(error).__name__} {error}"
    shot.seconds = time.monotonic() - began


class Watch:
    """How much a process has grown at most, looked at all the time."""

    def __init__(self, web: Web) -> None:
        self._statm = Path(f"/proc/{web.process.pid}/statm")
        self._before = self._resident_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.grown = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            try:
                self.grown = max(self.grown, self._resident_bytes() - self._before)
            except OSError:
                return  # it has ended, which is noticed elsewhere

    def _resident_bytes(self) -> int:
        return int(self._statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- Judgement ---


def _judge(context: Context, shot: Shot) -> None:
    if not context.expect(not shot.fault, f"{shot}: the caller got no answer, but {shot.fault}"):
        return
    context.worst("seconds", shot.seconds)
    context.expect(shot.seconds <= ALLOWED_SECONDS, f"{shot}: it took {shot.seconds:.1f} s")
    context.expect(MARK.encode() not in shot.body, f"{shot}: its script gets through")
    found = [name for name in FORBIDDEN_HEADERS if name in shot.headers]
    context.expect(not found, f"{shot}: its headers get through: {found}")
    context.expect(shot.headers.get("x-content-type-options") == "nosniff", f"{shot}: the type may be guessed")
    if shot.status == 200 and shot.way == "stream":
        _judge_stream(context, shot)
        return
    context.expect(shot.headers["content-type"].startswith("application/"), f"{shot}: {shot.headers['content-type']}")
    told = _json(shot.body)
    if shot.status == 200:
        is_sound = shot.name in SOUND and isinstance(told, dict) and told.get("label") == "ok"
        context.expect(is_sound, f"{shot}: it is answered {shot.body[:80]!r}")
        return
    problem = told.get("error", told) if isinstance(told, dict) else {}
    context.expect(
        shot.status in ERRORS and "code" in problem and problem.get("request_id") == shot.id,
        f"{shot}: it is answered {shot.status} {shot.body[:120]!r}",
    )


def _judge_stream(context: Context, shot: Shot) -> None:
    """One that had begun ends with an error and `[DONE]`; a sound one with `[DONE]`."""
    events = [line[6:] for line in shot.body.split(b"\n") if line.startswith(b"data: ")]
    if not context.expect(events[-1:] == [b"[DONE]"], f"{shot}: the stream ends with {events[-1:]!r}"):
        return
    told = _json(events[-2]) if len(events) > 1 else None
    broke = isinstance(told, dict) and "code" in (told.get("error") or {})
    context.expect(broke or shot.name in SOUND, f"{shot}: it is answered {shot.body[:120]!r}")


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _judge_others(context: Context, others: list[tuple[int, float]]) -> None:
    failed = sorted({status for status, _ in others if status != 200})
    context.expect(bool(others) and not failed, f"others are answered {failed} meanwhile")
    if others:
        context.worst("others_seconds", max(seconds for _, seconds in others))


def _judge_books(context: Context, house: SimpleNamespace, shots: list[Shot]) -> None:
    """Each call is settled, for no more than its hold, and the budgets agree."""
    from common.ids import decode
    from gateway.models import Invocation
    from gateway.services import check_books

    deadline = time.monotonic() + 10
    while Invocation.objects.filter(state="started").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    ids = {decode("req", shot.id): shot for shot in shots if shot.id}
    settled = {call.id: call for call in Invocation.objects.filter(pk__in=ids, state="final")}
    for id, shot in ids.items():
        context.expect(id in settled, f"{shot}: its call is not settled")
        if (call := settled.get(id)) is None:
            continue
        context.expect(0 <= call.cost_nano <= call.hold_nano, f"{shot}: it costs {call.cost_nano} of {call.hold_nano}")
        if shot.status in ERRORS:
            context.expect(call.cost_nano == 0, f"{shot}: it failed, and costs {call.cost_nano}")
    for wrong in check_books():
        context.violation(wrong)
