"""No address that a user supplies leads to the inside: a corpus of tricks against the door, with canaries listening.

The same corpus is sent with a plain client, which does hit the canaries: so these tests can fail.
"""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from common.outbound import Door, OutboundError, OutboundRefused, OutboundUnreachable, Timeouts
from common.outbound.addresses import Policy, is_public, parse

CANARY_HOSTS = ["127.0.0.1", "127.1.2.3", "::1"]
PUBLIC_HOST = "127.0.0.2"  # stands for the internet: opened by the operator's setting
QUICK = Timeouts(connect=2, first_byte=2, idle=2, total=3)


def _words(text: str) -> list[str]:
    return text.split()


LITERALS = _words("""
    127.0.0.1 127.1 127.0.1 127.1.2.3 2130706433 0x7f000001 0x7f.1 0x7F.0.0.0x1 0177.0.0.1 017700000001 00127.0.0.1
    0 0.0.0.0 0x0 127.0.0.1. localhost LOCALHOST localhost. x.localhost
    [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1] [::ffff:0:127.0.0.1]
    [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001:0:7f00:1::] [fe80::1%25lo] [fe80::1%lo] [::1%251]
    ①②⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 127．0．0．1 ١٢٧.0.0.1 ⑯⑨.254.169.254 ｌｏｃａｌｈｏｓｔ
    user:pw@127.0.0.1 public.test@127.0.0.1 127.0.0.1%2f@public.test public.test%00@127.0.0.1 %31%32%37.0.0.1
""")
NAMES = ["flip0.test", "flip1.test", "mixed0.test", "mixed1.test", "late.test", "priv.test", "six.test", "map.test"]
NAMES += ["nat.test", "scope.test", "many.test", "odd.test", "zero.test"]
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
    urls = [f"http://{host}:{port}{path}" for host in LITERALS + NAMES for path in ("/", "/latest/meta-data/")]
    urls += [f"http://public.test:{port}/?to={quote(target.format(port=port))}" for target in REDIRECTS]
    urls += [
        f"http://127.0.0.1:{port}#@public.test/",
        f"http://public.test:{port}#@127.0.0.1/",
        f"http://127.0.0.1:{port}\\@public.test/",
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
        if host.endswith(".test"):
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


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[Inside]:
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


@pytest.fixture
async def inside():
    async with _running() as running:
        yield running


@pytest.fixture
async def door(inside):
    async with Door(allowed=[f"{PUBLIC_HOST}/32:{inside.port}"], resolver=AttackersDNS()) as door:
        yield door


async def test_no_trick_of_the_corpus_reaches_a_canary(inside, door):
    outcomes: Counter[str] = Counter()
    said: set[str] = set()
    for url in corpus(inside.port):
        for _ in range(3):  # the name is resolved anew: what was public may not be any more
            try:
                reply = await door.request("GET", url, timeout=QUICK, max_bytes=1000)
                outcomes[f"{reply.status}"] += 1
                assert reply.body in (b"public", b"307: Temporary Redirect"), url
                assert "location" not in reply.headers
            except OutboundError as error:
                outcomes[type(error).__name__] += 1
                said.add(str(error))
    assert not any(host in sentence for sentence in said for host in [*CANARY_HOSTS, PUBLIC_HOST])
    assert inside.connections == []
    assert outcomes["307"] == 3 * len(REDIRECTS)  # a redirect is an answer, not an order
    assert outcomes["200"] >= 3  # the names that were public at first
    assert outcomes["OutboundRefused"] > 200


async def test_the_same_corpus_hits_the_canaries_through_a_plain_client(inside):
    async def visit(url):
        connector = aiohttp.TCPConnector(resolver=AttackersResolver(), use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=2)) as session:
            for _ in range(3):
                with contextlib.suppress(aiohttp.ClientError, ValueError, OSError, TimeoutError):
                    async with session.get(url) as response:
                        await response.read()

    await asyncio.gather(*map(visit, corpus(inside.port)))
    assert len(inside.connections) > 100
    assert set(inside.connections) == set(CANARY_HOSTS)


async def test_the_check_is_in_the_socket_not_only_before_it(inside):
    """With everything before the socket blinded, nothing is reached either."""

    class Blind(Policy):
        def check(self, url):
            return parse(url)

    door = Door(allowed=[f"{PUBLIC_HOST}/32:{inside.port}"], resolver=AttackersDNS())
    door.policy = Blind(door.policy.allowed)
    async with door:
        for url in ("http://127.0.0.1:{}/", "http://[::1]:{}/", "http://[::ffff:127.0.0.1]:{}/"):
            with pytest.raises(OutboundRefused):
                await door.request("GET", url.format(inside.port), timeout=QUICK, max_bytes=1000)
    assert inside.connections == []


async def test_what_the_operator_opened_works_and_nothing_beside_it(inside, door):
    reply = await door.request("GET", f"http://public.test:{inside.port}/", timeout=QUICK, max_bytes=1000)
    assert (reply.status, reply.body) == (200, b"public")
    reply = await door.request("GET", f"http://{PUBLIC_HOST}:{inside.port}/", timeout=QUICK, max_bytes=1000)
    assert reply.body == b"public"
    for url in (f"http://{PUBLIC_HOST}:{inside.port + 1}/", f"https://{PUBLIC_HOST}:{inside.port - 1}/"):
        with pytest.raises(OutboundRefused):
            await door.request("GET", url, timeout=QUICK, max_bytes=1000)
    async with Door(allowed=[]) as closed:
        with pytest.raises(OutboundRefused):
            await closed.request("GET", f"http://{PUBLIC_HOST}:{inside.port}/", timeout=QUICK, max_bytes=1000)


async def test_plain_http_to_a_public_name_is_not_dialled(inside, door):
    with pytest.raises(OutboundRefused):  # the operator opened this port, yet the name leads elsewhere
        await door.request("GET", f"http://internet.test:{inside.port}/", timeout=QUICK, max_bytes=1000)


async def test_a_proxy_of_the_environment_is_not_used(inside, door, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{inside.port}")
    reply = await door.request("GET", f"http://public.test:{inside.port}/", timeout=QUICK, max_bytes=1000)
    assert reply.body == b"public"
    assert inside.connections == []


async def test_names_are_resolved_by_the_system_and_checked(inside):
    async with Door(allowed=[f"{PUBLIC_HOST}/32:{inside.port}"]) as door:
        with pytest.raises((OutboundRefused, OutboundUnreachable)):
            await door.request("GET", f"http://localhost.localdomain:{inside.port}/", timeout=QUICK, max_bytes=1000)
    assert inside.connections == []


BAD_ADDRESSES = _words("""
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
    169.254.170.2 100.64.0.1 100.100.100.200 192.0.0.192 198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.9 224.0.0.1
    239.255.255.250 233.252.0.1 240.0.0.1 255.255.255.255 192.88.99.1 168.63.129.16
    ::1 :: ::127.0.0.1 ::a9fe:a9fe ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::ffff:100.64.0.1
    ::ffff:0.0.0.0 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 2002:7f00:1::
    2002:a9fe:a9fe:: 2001:0:7f00:1:: 2001:db8::1 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 fd20:ce::254
    ff02::1 100::1 5f00::1 3fff::1 2001:20::1 2001:10::1 2600::1%eth0 ::ffff:127.0.0.1%lo
""")
GOOD_ADDRESSES = _words(
    "1.1.1.1 8.8.8.8 93.184.216.34 2606:4700:4700::1111 2a00:1450:4001::200e 128.99.0.0 ::ffff:8.8.8.8"
)
EDGES = _words("""
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.168.0.0/16
    198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    ::/3 2001::/23 2001:db8::/32 2002::/16 3fff::/20 4000::/2 8000::/1
""")


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_special_address_is_not_public(address):
    assert not Policy().permits("https", address, 443)


@pytest.mark.parametrize("address", GOOD_ADDRESSES)
def test_a_public_address_is(address):
    assert Policy().permits("https", address, 443)
    assert not Policy().permits("http", address, 80)
    assert Policy(allow_http=True).permits("http", address, 80)
    assert not Policy(allow_http=True).permits("https", address, 22)


@pytest.mark.parametrize("text", EDGES)
def test_nothing_within_a_special_network_is_public(text):
    network = ip_network(text)
    chance = random.Random(text)
    inside = [network[0], network[-1], *(network[chance.randrange(network.num_addresses)] for _ in range(500))]
    assert not any(is_public(address) for address in inside)


@pytest.mark.parametrize("text", ["127.0.0.1", "2130706433", "127.1", "", "example.com", "127.0.0.1\0", "::1%"])
def test_only_a_canonical_literal_can_be_permitted(text):
    assert not Policy().permits("https", text, 443)
