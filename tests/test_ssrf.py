"""No address that a user supplies leads to the inside: a corpus of tricks against the door, with canaries listening.

The same corpus is sent with a plain client, which does hit the canaries: so these tests can fail.
"""

import asyncio
import contextlib
import random
from collections import Counter
from ipaddress import ip_network

import aiohttp
import pytest

from common.outbound import Door, OutboundError, OutboundRefused, OutboundUnreachable, Timeouts
from common.outbound.addresses import Policy, is_public, parse
from tests.inward import (
    CANARY_HOSTS,
    PUBLIC_HOST,
    REDIRECTS,
    AttackersDNS,
    AttackersResolver,
    corpus,
    running,
    words,
)

QUICK = Timeouts(connect=2, first_byte=2, idle=2, total=3)


@pytest.fixture
async def inside():
    async with running() as found:
        yield found


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


BAD_ADDRESSES = words("""
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
    169.254.170.2 100.64.0.1 100.100.100.200 192.0.0.192 198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.9 224.0.0.1
    239.255.255.250 233.252.0.1 240.0.0.1 255.255.255.255 192.88.99.1 168.63.129.16
    ::1 :: ::127.0.0.1 ::a9fe:a9fe ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::ffff:100.64.0.1
    ::ffff:0.0.0.0 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 2002:7f00:1::
    2002:a9fe:a9fe:: 2001:0:7f00:1:: 2001:db8::1 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 fd20:ce::254
    ff02::1 100::1 5f00::1 3fff::1 2001:20::1 2001:10::1 2600::1%eth0 ::ffff:127.0.0.1%lo
""")
GOOD_ADDRESSES = words(
    "1.1.1.1 8.8.8.8 93.184.216.34 2606:4700:4700::1111 2a00:1450:4001::200e 128.99.0.0 ::ffff:8.8.8.8"
)
EDGES = words("""
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
