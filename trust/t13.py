"""No address that somebody gives leads into the private network, on any way out.

A trial is one address, from a corpus of 315 tricks, of which the full lane makes many more: as the endpoint of models
of every protocol, whether the form takes it or it stands in the row already, called by every address there is for that,
by the playground and as a prediction (in the fast lane at once, as a stream, and by turns in one of the other ways); as
a webhook's receiver; and as a reference in a schema. The DNS is the attacker's. Servers listen on 127/8 and ::1, and
count who comes. Then random addresses, of which half lie at the edges of IANA's special networks, are held against its
registries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from trust.harness import Context, Result
from trust.registry import Sabotage

if TYPE_CHECKING:
    from accounts.models import User
    from gateway.hotpath.call import Gateway
    from marketplace.models import AIModel
    from tests.inward import Inside

ROUNDS_OF_A_NAME = 3  # it is resolved anew: what was public may not be any more
PROTOCOLS = ("json", "openai", "anthropic")

_AFTER_DNS = """        if not all(self.policy.permits(target.scheme, address, target.port) for address in found):
            raise OutboundRefused("The host name leads to an address that is not public.")
        return found

    async def _connect(self, target: Target, addresses: Sequence[str]) -> Connection:
        was_refused = False

        def open_socket(info: tuple[Any, ...]) -> socket.socket:
            nonlocal was_refused
            family, kind, protocol, _, address = info
            scope = address[3] if len(address) > 3 else 0
            if scope or not self.policy.permits(target.scheme, address[0], address[1]):
"""
_NO_MORE = """        return found

    async def _connect(self, target: Target, addresses: Sequence[str]) -> Connection:
        was_refused = False

        def open_socket(info: tuple[Any, ...]) -> socket.socket:
            nonlocal was_refused
            family, kind, protocol, _, address = info
            if False:
"""

SABOTAGES = (
    Sabotage(
        "the URL is checked before it is resolved, and the socket's address is not",
        "common/outbound/door.py",
        _AFTER_DNS,
        _NO_MORE,
    ),
    Sabotage(
        "only the first answer is checked",
        "common/outbound/door.py",
        _AFTER_DNS,
        "        if not self.policy.permits(target.scheme, found[0], target.port):\n"
        '            raise OutboundRefused("The host name leads to an address that is not public.")\n' + _NO_MORE,
    ),
    Sabotage(
        "the list of Python in place of ours",
        "common/outbound/addresses.py",
        "    return not any(address in network for network in _NOT_PUBLIC_4)\n",
        "    return address.is_global\n",
    ),
    Sabotage(
        "a network is forgotten",
        "common/outbound/addresses.py",
        '"2001::/23 2001:db8::/32 2002::/16',
        '"2001::/23 2001:db8::/32',
    ),
    Sabotage(
        "webhooks go out by another door",
        "notifications/adapters/webhook.py",
        "        return Door()\n",
        '        return Door(allowed=["0.0.0.0/0", "::/0"])\n',
    ),
    Sabotage(
        "predictions go out by another door",
        "gateway/hotpath/call.py",
        "        reply = await self.upstreams.ask(call, self.door_of(call))\n",
        '        open_door = Door(allowed=["0.0.0.0/0", "::/0"])\n'
        "        reply = await self.upstreams.ask(call, open_door)\n",
    ),
    Sabotage(
        "streams go out by another door",
        "gateway/hotpath/stream.py",
        "gateway.door_of(call), max_bytes",
        'type(gateway.door)(allowed=["0.0.0.0/0", "::/0"]), max_bytes',
    ),
    Sabotage(
        "a schema's reference is fetched",
        "marketplace/services/schemas.py",
        '    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):\n',
        '    if isinstance(reference, str) and reference.startswith("http"):\n'
        '        __import__("contextlib").suppress(Exception).__enter__()\n'
        "        try:\n"
        '            __import__("urllib.request").request.urlopen(reference, timeout=1)\n'
        "        except Exception:  # noqa: S110\n"
        "            pass\n"
        '    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):\n',
    ),
)


def run(context: Context) -> Result:
    from django.test import override_settings

    from common.outbound import door
    from tests import inward
    from trust.special import hold_against_the_registries

    attacker = inward.AttackersDNS()

    async def resolve(_self: Any, host: str, port: int) -> Sequence[str]:
        found: Sequence[str] = await attacker.resolve(host, port)
        return found

    publisher, models = _make_models(context)
    context.ground.stop_webs()  # they may reach inside, by settings of their own, and take what waits in line

    async def attack() -> None:
        async with inward.running() as inside:
            opened = [f"{host}/32:{inside.port}" for host in (inward.PUBLIC_HOST, inward.DEAD_HOST)]
            with override_settings(
                OUTBOUND_ALLOWED_NETWORKS=opened, OUTBOUND_ALLOW_HTTP=False, GATEWAY_CIRCUIT_FAILURES=0
            ):
                await Attack(context, inside, publisher, models).make()

    with patch.object(door.SystemResolver, "resolve", resolve):  # the world outside, not ours
        asyncio.run(attack())
    if context.shard[0] == 1:
        hold_against_the_registries(context)
    return context.result()


def _make_models(context: Context) -> tuple[User, dict[str, AIModel]]:
    """One of each protocol, callable and free, with somebody who may call them."""
    from trust import world

    anything = {"type": "object"}
    models = {}
    for protocol in PROTOCOLS:
        models[protocol] = world.make_model(
            context.ground, name=f"Inward {protocol}", api_spec={"input": anything, "output": anything}
        )
        context.ground.execute(
            "UPDATE gateway_endpoint SET protocol = %s, sealed_secret = NULL WHERE version_id = %s",
            [protocol, models[protocol].current_version_id],
        )
    return world.make_person(platform_role="developer"), models


class Attack:
    def __init__(self, context: Context, inside: Inside, person: User, models: dict[str, AIModel]) -> None:
        self._context, self._inside, self._person, self._models = context, inside, person, models
        self._accepted = self._turn = 0
        self._thread = ThreadPoolExecutor(1)  # with a connection to the database that is kept

    async def make(self) -> None:
        from django.db import connection

        from gateway.hotpath.app import running_gateway
        from gateway.tests.asgi import running_app
        from notifications.adapters.webhook import Sender
        from notifications.services import deliver_webhooks
        from tests import inward
        from trust import world

        context, inside = self._context, self._inside
        self._secret = (await asyncio.to_thread(world.make_key, self._person))[1]
        async with running_app() as app:
            with Sender() as self._sender:
                await self._try_all(app, await running_gateway())
        await self._aside(deliver_webhooks)  # what the outbox took
        await self._aside(lambda: connection.close())  # that thread's
        context.expect(not inside.connections, f"an event led to {sorted(set(inside.connections))}")
        context.expect(self._accepted > 0, "what is open to everybody is accepted nowhere")
        context.expect(inside.served > 0, "what is open to everybody is not reached")
        context.worst("reached_what_is_open", inside.served)
        inside.connections.clear()
        await asyncio.to_thread(_knock, inward.CANARY_HOSTS, inside.port)
        await asyncio.sleep(0.05)
        context.expect(len(inside.connections) == len(inward.CANARY_HOSTS), "a canary does not notice who comes")

    async def _aside(self, work: Callable[[], Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _try_all(self, app: Any, gateway: Gateway) -> None:
        from tests import inward

        inside = self._inside
        known = inward.corpus(inside.port)
        public = f"http://{inward.PUBLIC_HOST}:{inside.port}/"
        await self._call(app, gateway, public)
        await self._aside(lambda: self._keep(public))
        for trial in self._context.each():
            url = known[trial.number] if trial.number < len(known) else _variant(trial.random, inside.port)
            for _ in range(ROUNDS_OF_A_NAME if url.endswith(f".test:{inside.port}/") else 1):
                await self._call(app, gateway, url)
                await asyncio.wrap_future(self._sender.send(self._post(url)))
            await self._aside(partial(self._keep, url))
            if inside.connections:
                self._context.violation(f"{url!r} led to {sorted(set(inside.connections))}")
                inside.connections.clear()

    async def _call(self, app: Any, gateway: Gateway, url: str) -> None:
        """Everything that calls an endpoint, though the row should never have come to hold this address."""
        from gateway.hotpath.snapshot import Snapshots
        from gateway.models import Endpoint
        from gateway.tests.asgi import Request

        ids = [ai_model.current_version_id for ai_model in self._models.values()]
        await self._aside(lambda: Endpoint.objects.filter(version__in=ids).update(url=url))
        gateway.snapshots = Snapshots(gateway._pool)  # as after the second for which it is remembered
        names = {protocol: one.public_id for protocol, one in self._models.items()}
        talk = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
        prediction = {"model": names["json"], "input": {"text": "x"}}
        always = [
            Request(f"/api/models/{names['json']}/invoke", {"text": "x"}, self._secret),
            Request("/v1/chat/completions", {"model": names["openai"], **talk, "stream": True}, self._secret),
        ]
        by_turns = [
            Request("/v1/chat/completions", {"model": names["openai"], **talk}, self._secret),
            Request("/v1/completions", {"model": names["openai"], "prompt": "x", "stream": True}, self._secret),
            Request("/v1/embeddings", {"model": names["openai"], "input": "x"}, self._secret),
            Request("/v1/messages", {"model": names["anthropic"], **talk}, self._secret),
            Request("/v1/messages", {"model": names["anthropic"], **talk, "stream": True}, self._secret),
            Request("/v1/predictions", prediction, self._secret, headers=[(b"prefer", b"wait=5")]),
        ]
        self._turn = (self._turn + 1) % (len(by_turns) + 1)
        if not self._context.is_full:
            by_turns = by_turns[self._turn : self._turn + 1]
        requests = always + by_turns
        await asyncio.gather(*(request(app) for request in requests))
        if self._context.is_full or not by_turns:
            await self._play(gateway)
        for answer in requests:
            told = (b"CANARY", b"127.0.0.1", b"127.1.2.3")
            if any(word in answer.received for word in told):
                self._context.violation(f"an answer tells of the inside: {answer.received[:100]!r} for {url!r}")

    async def _play(self, gateway: Gateway) -> None:
        """As the playground does, once at once and once as a stream."""
        from common.ids import uuid7
        from common.problems import Problem
        from gateway.hotpath.session import EventStream, admit, ask

        for protocol, kind, body in (
            ("json", "invoke", {"text": "x"}),
            ("openai", "chat", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}),
        ):
            try:
                _gateway, call = await admit(
                    id=uuid7(),
                    organization_id=self._person.personal_organization.pk,
                    user_id=self._person.pk,
                    ai_model_id=self._models[protocol].pk,
                    kind=kind,
                    body=body,
                    size=100,
                )
                if kind == "chat":
                    await EventStream(gateway, call).first()
                else:
                    await ask(gateway, call)
            except Problem:
                continue

    @staticmethod
    def _post(url: str) -> Any:
        """As a webhook, whatever the outbox would say to it."""
        from common.ids import uuid7
        from notifications.adapters.webhook import Post

        return Post(uuid7(), "evt_x", url, b"s" * 24, b"{}")

    def _keep(self, url: str) -> None:
        """Where an address is given and kept: each takes it, or says why not, and asks nobody."""
        from common import clock
        from common.ids import uuid7
        from common.outbound import OutboundRefused
        from common.problems import Problem
        from gateway.services import set_endpoint
        from marketplace.services.schemas import UnfitSchema, check_schema
        from notifications.services import send_webhook

        try:
            set_endpoint(ai_model=self._models["json"], url=url, protocol="json")
            self._accepted += 1
        except Problem as problem:
            self._context.expect(problem.status == 422, f"setting {url!r} is {problem.status}")
        with suppress(OutboundRefused):
            send_webhook(
                organization_id=self._person.personal_organization.pk,
                url=url,
                kind="prediction.succeeded",
                subject="pred_x",
                data={},
                at=clock.now(),
                dedupe_key=uuid7().hex,
            )
        with suppress(UnfitSchema):
            check_schema({"$ref": url})
            self._context.violation(f"a schema may refer to {url!r}")


def _knock(hosts: list[str], port: int) -> None:
    import socket

    for host in hosts:
        socket.create_connection((host, port), timeout=5).close()


def _variant(random: Random, port: int) -> str:
    """The inside, written in some way that somebody might read as an address."""
    number = int(IPv4Address(random.choice(["127.0.0.1", "127.1.2.3"])))
    parts = list(number.to_bytes(4, "big"))
    mapped = f"{number >> 16:x}:{number & 0xFFFF:x}"
    ways = [
        ".".join(random.choice(["{}", "{:#x}", "0{:o}"]).format(part) for part in parts),
        random.choice([str(number), hex(number), f"0{number:o}", f"{parts[0]}.{number & 0xFFFFFF}"]),
        f"[{random.choice(['::ffff:', '64:ff9b::', '::', '2002:'])}{mapped}{random.choice(['', '::'])}]",
        "".join(random.choice([c, chr(0xFEE0 + ord(c))]) for c in str(IPv4Address(number))),
        random.choice(["flip", "late", "mixed", "half", "priv", "six", "map", "many"])
        + f"{random.randrange(10**6)}.test",
        str(IPv4Address(number)) + random.choice([".", "%00", "%2f", "\t", "\n", "#", "\\"]),
    ]
    scheme = random.choice(["http", "https", "HTTP", "hTTp"])
    user = random.choice(["", "", "", "user@", "public.test@", "public.test:80@"])
    tail = random.choice(["/", "", "/?a=b", "/#@public.test/", "\\@public.test/", "//"])
    return f"{scheme}://{user}{random.choice(ways)}:{port}{tail}"
