"""Addresses that lead inside if they are believed: a corpus of tricks, a DNS that lies, and servers not to be met."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

from aiohttp import web
from aiohttp.abc import AbstractResolver

CANARY_HOSTS = ["127.0.0.1", "127.1.2.3", "::1"]
PUBLIC_HOST = "127.0.0.2"  # stands for the internet: opened by the operator's setting
DEAD_HOST = "127.0.0.3"  # as public, and nobody answers there


def words(text: str) -> list[str]:
    return text.split()


LITERALS = words("""
    127.0.0.1 127.1 127.0.1 127.1.2.3 2130706433 0x7f000001 0x7f.1 0x7F.0.0.0x1 0177.0.0.1 017700000001 00127.0.0.1
    0 0.0.0.0 0x0 127.0.0.1. localhost LOCALHOST localhost. x.localhost
    [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1] [::ffff:0:127.0.0.1]
    [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001:0:7f00:1::] [fe80::1%25lo] [fe80::1%lo] [::1%251]
    ①②⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 127．0．0．1 ١٢٧.0.0.1 ⑯⑨.254.169.254 ｌｏｃａｌｈｏｓｔ
    127.000.000.001 0x7f.0x0.0x0.0x1 127.0x0.1 0x7f000001. 0177.0.0.01 [0000::0001] [::ffff:127.1.2.3]
    [::7f00:1] [::1%lo] ⓛⓞⓒⓐⓛⓗⓞⓢⓣ localhost.localdomain 127.0.0.1;public.test 127.0.0.1,public.test
    user:pw@127.0.0.1 public.test@127.0.0.1 127.0.0.1%2f@public.test public.test%00@127.0.0.1 %31%32%37.0.0.1
""")
NAMES = ["flip0.test", "flip1.test", "mixed0.test", "mixed1.test", "late.test", "priv.test", "six.test", "map.test"]
NAMES += ["half.test", "nat.test", "scope.test", "many.test", "odd.test", "zero.test"]
REDIRECTS = [
    "http://127.0.0.1:{port}/r",
    "http://[::1]:{port}/r",
    "http://2130706433:{port}/r",
    "//127.0.0.1:{port}/r",
    "http://priv.test:{port}/r",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/x",
]


def corpus(port: int) -> list[str]:
    urls = [
        f"{scheme}://{host}:{port}{path}"
        for host in LITERALS + NAMES
        for scheme in ("http", "https")
        for path in ("/", "/latest/meta-data/")
    ]
    urls += [f"http://public.test:{port}/?to={quote(target.format(port=port))}" for target in REDIRECTS]
    urls += [
        f"http://127.0.0.1:{port}#@public.test/",
        f"http://public.test:{port}#@127.0.0.1/",
        f"http://127.0.0.1:{port}\\@public.test/",
        f"http://127.0.0.1:{port};@public.test/",
        f"http://public.test\\@127.0.0.1:{port}/",
        f"http:\\\\127.0.0.1:{port}/",
        f"http:127.0.0.1:{port}/",
        f"http:///127.0.0.1:{port}/",
        f" http://127.0.0.1:{port}/",
        f"http://127.0.0.1\t:{port}/",
        f"http://127.0.0.1\n:{port}/",
        f"HTTP://127.0.0.1:{port}/",
        f"httpſ://127.0.0.1:{port}/",
        f"https://127.0.0.1:{port}/",
        f"ws://127.0.0.1:{port}/",
        f"file://127.0.0.1:{port}/",
        f"unix://127.0.0.1:{port}/",
        f"http://127.0.0.1:0{port}/",
        f"http://127.0.0.1:{port + 65536}/",
        f"http://127.0.0.1:{port}/\r\nHost: public.test",
    ]
    return urls


class AttackersDNS:
    """Answers that change, that mix, and that hide the inside in IPv6. Numbers go to the system, as they would."""

    ANSWERS = {
        "priv": ["127.0.0.1"],
        "half": [DEAD_HOST, "127.0.0.1"],
        "six": ["::1"],
        "map": ["::ffff:127.0.0.1"],
        "nat": ["64:ff9b::7f00:1"],
        "scope": ["fe80::1%lo"],
        "many": [PUBLIC_HOST] * 30 + ["127.0.0.1"],
        "odd": ["2130706433"],
        "zero": ["0.0.0.0"],
        "public": [PUBLIC_HOST],
        "internet": ["93.184.216.34"],
    }

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def resolve(self, host, port):
        self.asked[host] += 1
        name = host.partition(".")[0].rstrip("0123456789")
        if name == "flip":
            return [PUBLIC_HOST if self.asked[host] == 1 else "127.0.0.1"]
        if name == "late":
            return ["127.0.0.1" if self.asked[host] % 3 == 0 else PUBLIC_HOST]
        if name == "mixed":
            return random.sample([PUBLIC_HOST, "127.0.0.1"], 2)
        if host.endswith(".test") and name in self.ANSWERS:
            return self.ANSWERS[name]
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(info[4][0]) for info in infos]

    async def close(self):
        pass


class AttackersResolver(AttackersDNS, AbstractResolver):
    """The same answers for a plain client."""

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": socket.IPPROTO_TCP,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in await super().resolve(host, port)
        ]


@dataclass
class Inside:
    """Servers that nobody outside may reach, and one that anybody may, all on one port."""

    port: int
    connections: list[str] = field(default_factory=list)  # to canaries, counted when accepted
    served: int = 0  # by the one for everybody


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Inside]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        inside = Inside(probe.getsockname()[1])

    def canary_at(host):
        async def canary(reader, writer):
            inside.connections.append(host)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nCANARY")
            await writer.drain()
            writer.close()

        return canary

    async def public(request):
        inside.served += 1
        if to := request.query.get("to"):
            raise web.HTTPTemporaryRedirect(to)
        return web.Response(text="public", headers={"Connection": "close"})

    async with contextlib.AsyncExitStack() as stack:
        for host in CANARY_HOSTS:
            if host != "::1" or socket.has_ipv6:
                server = await asyncio.start_server(canary_at(host), host, inside.port)
                stack.push_async_callback(server.wait_closed)
                stack.callback(server.close)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", public)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, PUBLIC_HOST, inside.port).start()
        yield inside
