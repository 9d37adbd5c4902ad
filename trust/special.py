"""T13's: random addresses, held against IANA's registries of special networks. To be imported in `run`."""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random

from common.outbound import Policy
from trust.harness import Context

ADDRESSES = {"fast": 50_000, "full": 1_000_000}

#: Of IANA's special-purpose registries what is not globally reachable, and multicast. Written from the registries, not
#: from the product.
SPECIAL_4 = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
SPECIAL_6 = """
::/128 ::1/128 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16
3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
#: Globally reachable by the registry, and yet no place for a model: services of the network itself.
EITHER_4 = "192.31.196.0/24 192.52.193.0/24 192.175.48.0/24 168.63.129.16/32"
EITHER_6 = "2620:4f:8000::/48"


class Ranges:
    def __init__(self, text: str) -> None:
        spans = sorted((int(net[0]), int(net[-1])) for net in map(ip_network, text.split()))
        self.starts, self.ends = [start for start, _ in spans], [end for _, end in spans]

    def holds(self, number: int) -> bool:
        at = bisect_right(self.starts, number) - 1
        return at >= 0 and number <= self.ends[at]


def hold_against_the_registries(context: Context) -> None:
    policy, random = Policy(), context.random
    special = {4: Ranges(SPECIAL_4), 6: Ranges(SPECIAL_6)}
    either = {4: Ranges(EITHER_4), 6: Ranges(EITHER_6)}
    count = ADDRESSES["full" if context.is_full else "fast"]
    permitted = 0
    for _ in range(count):
        version = random.choice((4, 6))
        number = _address(random, version, special[version])
        text = str(IPv4Address(number) if version == 4 else IPv6Address(number))
        is_open = policy.permits("https", text, 443)
        permitted += is_open
        is_unicast = version == 4 or number >> 125 == 1  # 2000::/3, what is given out
        if special[version].holds(number) or not is_unicast:
            context.expect(not is_open, f"{text} may be dialled")
        elif not either[version].holds(number):
            context.expect(is_open, f"{text} is public, and may not be dialled")
    context.worst("addresses", count)
    context.worst("addresses_permitted", permitted)


def _address(random: Random, version: int, special: Ranges) -> int:
    bits = 32 if version == 4 else 128
    if random.random() < 0.5:
        at = random.randrange(len(special.starts))
        edge = random.choice((special.starts[at], special.ends[at]))
        return min(max(edge + random.choice((-1, 0, 1, random.getrandbits(8), -random.getrandbits(8))), 0), 2**bits - 1)
    if version == 6 and random.random() < 0.8:  # most of the whole space is given to nobody
        return (1 << 125) | random.getrandbits(125)
    return random.getrandbits(bits)
