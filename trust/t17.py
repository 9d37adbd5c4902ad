"""Request smuggling: no framing of a request makes one caller receive another's answer, or leaves a request behind that
nobody sent as one, through the front proxy that is shipped and the processes behind it.

A trial is one of sixty ambiguous framings, sent to an address of the gateway and to one of the pages' processes, with a
marker request in the place that two readers see differently; some arrive in pieces. Meanwhile others call on
connections of their own, which share the proxy's connections to the processes. A marker that was executed must have
been answered to its sender. Two requests that are framed well go along each time, to see that a marker can be found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trust.framings import FRAMINGS, Framing
from trust.front import front, lacks, wanted_of_web
from trust.harness import Context, Result
from trust.registry import Sabotage

__all__ = ["SABOTAGES", "lacks", "run"]

if TYPE_CHECKING:
    from aiohttp import web

AT_ONCE = 12  # framings of one round
VICTIMS = 6
WAIT_SECONDS = 0.8  # for answers on a connection that stays open
PAGES_EVERY = 8  # of a victim's requests, one asks the pages' process

SABOTAGES = (
    Sabotage(
        "the client's own length is passed on",
        "ops/nginx.conf",
        '    proxy_set_header Connection "";\n',
        '    proxy_set_header Connection "";\n    proxy_set_header Content-Length $http_content_length;\n',
    ),
    Sabotage(
        "bodies without their length",
        "ops/nginx.conf",
        '    proxy_set_header Forwarded "";\n',
        '    proxy_set_header Forwarded "";\n    proxy_set_header Content-Length "";\n',
    ),
)


@dataclass(slots=True)
class Sender:
    """Who sends the framings: where the proxy is, and the secret of a key."""

    host: str
    port: int
    invoke: str
    secret: str

    def request(self, text: str, *, path: str | None = None, length: bool = True) -> bytes:
        """A call of the model; without its body and blank line if `length` is False."""
        body = json.dumps({"text": text}).encode()
        head = (
            f"POST {path or self.invoke} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.secret}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
        ).encode()
        return head + (b"Content-Length: %d\r\n\r\n" % len(body) + body if length else b"")

    async def exchange(self, pieces: list[bytes]) -> bytes:
        """All that comes back, until the other side hangs up or says no more."""
        received = b""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            async with asyncio.timeout(WAIT_SECONDS):
                while data := await reader.read(65536):
                    received += data
        except (TimeoutError, OSError):
            pass
        finally:
            writer.close()
        return received


def run(context: Context) -> Result:
    from trust import world

    ground = context.ground
    ai_model = world.make_model(ground)
    secret = world.make_key(world.make_person())[1]
    executed: list[str] = []
    ground.upstream.behave = _echo(executed)
    gateway, pages = ground.start_webs(2, **wanted_of_web())
    with front(gateway, pages) as proxy:
        address = urlsplit(proxy.url)
        invoke = f"/api/models/{ai_model.public_id}/invoke"
        sender = Sender(address.hostname or "", address.port or 0, invoke, secret)
        for trial in context.each(per=AT_ONCE):
            framings = [FRAMINGS[(trial.number + n) % len(FRAMINGS)] for n in range(trial.size)]
            asyncio.run(_round(context, sender, framings, trial.random, executed))
    return context.result()


def _echo(executed: list[str]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The model answers with what it was given, and remembers it."""
    from aiohttp import web

    async def behave(request: web.Request) -> web.StreamResponse:
        text = json.loads(await request.read())["text"]
        executed.append(text)
        return web.json_response({"label": text})

    return behave


async def _round(
    context: Context, sender: Sender, framings: list[Framing], random: Random, executed: list[str]
) -> None:
    tag = f"{random.getrandbits(48):x}"
    over = asyncio.Event()
    victims = [asyncio.create_task(_victim(context, sender, f"{tag}-{number}", over)) for number in range(VICTIMS)]
    attacks = [
        (f"{framing.name} at {where}", f"marker-{tag}-{number}-{where}", framing, path)
        for number, framing in enumerate(framings)
        for where, path in (("the gateway", sender.invoke), ("the pages", "/api/auth/login"))
    ]
    sent = [_pieces(framing.build(sender.request("", path=path, length=False), sender.request(marker)), random)
            for _, marker, framing, path in attacks]  # fmt: skip
    controls = asyncio.create_task(_controls(sender, tag, executed))
    received = await asyncio.gather(*(sender.exchange(pieces) for pieces in sent))
    await controls
    await asyncio.sleep(0.1)  # until what was left behind was executed too
    over.set()
    answers = sum(await asyncio.gather(*victims))
    for (what, marker, _, _), back in zip(attacks, received, strict=True):
        times = executed.count(marker)
        context.expect(
            times == 0 or marker.encode() in back,
            f"{what}: a request that was hidden was executed and answered to no one",
        )
        context.expect(times <= 1, f"{what}: a hidden request was executed {times} times")
    for fault in controls.result():
        context.violation(fault)
    context.expect(answers >= 2 * VICTIMS, f"of those who called meanwhile only {answers} were answered")
    context.worst("answers_to_others", answers)
    executed.clear()


def _pieces(data: bytes, random: Random) -> list[bytes]:
    """In one piece, or cut at a random place, so that what is hidden may arrive by itself."""
    if random.random() < 0.5:
        return [data]
    cut = random.randrange(1, len(data))
    return [data[:cut], data[cut:]]


async def _victim(context: Context, sender: Sender, tag: str, over: asyncio.Event) -> int:
    """Calls one after the other on one connection; each answer must be its own. Returns how many came."""
    import aiohttp

    base, count = f"http://{sender.host}:{sender.port}", 0
    headers = {"Authorization": f"Bearer {sender.secret}", "Host": "localhost"}
    session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=30))
    async with session:
        while not over.is_set():
            own = f"victim-{tag}-{count}"
            try:
                if count % PAGES_EVERY == PAGES_EVERY - 1:
                    async with session.get(f"{base}/search", params={"q": own}) as response:
                        text, right = await response.text(), 200
                else:
                    async with session.post(base + sender.invoke, json={"text": own}) as response:
                        text, right = await response.text(), 200
            except aiohttp.ClientError as error:
                context.violation(f"a call beside the framings broke: {type(error).__name__}")
                return count
            if not context.expect("marker-" not in text, "a caller received the answer to a request hidden by another"):
                return count
            is_own = response.status == right and own in text
            if not context.expect(is_own, f"a caller received {response.status} or what is not theirs: {text[:80]}"):
                return count
            count += 1
            await asyncio.sleep(0.01)
    return count


async def _controls(sender: Sender, tag: str, executed: list[str]) -> list[str]:
    """Two requests in a row, and one in pieces, are as they should be: else nothing here would be found."""
    faults = []
    first, second, third = (f"control-{tag}-{number}" for number in range(3))
    back = await sender.exchange([sender.request(first) + sender.request(second)])
    if not (first.encode() in back and second.encode() in back and {first, second} <= set(executed)):
        faults.append("two requests on one connection are not both answered there")
    body = json.dumps({"text": third}).encode()
    head = sender.request("", length=False) + b"Transfer-Encoding: chunked\r\n\r\n"
    back = await sender.exchange([head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"])
    if third.encode() not in back:
        faults.append("a request whose body comes in pieces is not answered")
    return faults
