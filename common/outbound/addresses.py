"""Which addresses may be dialled. An allow-list of the public address space; operators may open ranges of their own.

Python's `is_global` and `is_private` are not asked: their answers change with the patch release and miss NAT64, 6to4, …
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

import idna
from django.conf import settings

from common.outbound.errors import OutboundRefused

Address = IPv4Address | IPv6Address


def _networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(word) for word in text.split()]


# IANA's special-purpose registry, multicast, reserved, and Azure's platform address.
_NOT_PUBLIC_4 = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32"
)
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = _networks("2001::/23 2001:db8::/32 2002::/16 3fff::/20 2620:4f:8000::/48")

# Services that would take an HTTP request for commands of their own, or that nobody serves a model on.
# fmt: off
_CLOSED_PORTS = frozenset((
    19, 21, 22, 23, 25, 53, 69, 79, 110, 111, 119, 135, 137, 139, 143, 161, 389, 445, 465, 512, 513, 514, 587, 636, 873,
    989, 990, 993, 995, 1433, 1521, 2049, 2375, 2379, 3306, 3389, 5432, 5900, 6379, 6667, 11211, 27017,
))
# fmt: on

_URL = re.compile(
    r"([Hh][Tt][Tt][Pp][Ss]?)://(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]/?#:@\\\s%]{1,255})(?::([0-9]{1,5}))?(/[^?#]*)?(\?[^#]*)?"
)
_TARGET = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*", re.ASCII)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_MAX_URL_CHARACTERS = 2048
_HTTPS_ONLY = "The URL has to begin with https://."


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was understood in exactly one way: what was checked is what is dialled."""

    scheme: str
    host: str  # lower case ASCII name or address, without brackets
    port: int
    path: str  # with the query; begins with a slash
    address: Address | None  # the host, when it is a literal

    @property
    def origin(self) -> str:
        """scheme://host:port, the thing a secret is bound to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + self.path


@dataclass(frozen=True, slots=True)
class AllowedNetwork:
    """A range that the operator opened, on one port or on all."""

    network: IPv4Network | IPv6Network
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10.0.0.0/8`, `127.0.0.1/32:8901`, `fd00::/8` or `[fd00::/8]:443`. Raises ValueError."""
        bracketed = re.fullmatch(r"\[(.+)\]:([0-9]+)", text)
        if bracketed:
            network, port = bracketed.groups()
        elif text.count(":") == 1:
            network, port = text.split(":")
        else:
            network, port = text, None
        if port is not None and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r}: a port is a number from 1 to 65535")
        return cls(ip_network(network), int(port) if port else None)

    def holds(self, address: Address, port: int) -> bool:
        return self.port in (None, port) and address.version == self.network.version and address in self.network


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows beyond https to public addresses."""

    allowed: tuple[AllowedNetwork, ...] = ()
    allow_http: bool = False

    @classmethod
    def of(cls, allowed: Iterable[str], *, allow_http: bool = False) -> Self:
        """Raises ValueError on a text that is not a network."""
        return cls(tuple(AllowedNetwork.parse(text) for text in allowed), allow_http)

    @classmethod
    def from_settings(cls) -> Self:
        return cls.of(settings.OUTBOUND_ALLOWED_NETWORKS, allow_http=settings.OUTBOUND_ALLOW_HTTP)

    def permits(self, scheme: str, host: str, port: int) -> bool:
        """Whether a connection to this literal address may be opened. Asked of what the kernel is about to dial."""
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            if address.scope_id:
                return False
            address = address.ipv4_mapped or address
        if any(network.holds(address, port) for network in self.allowed):
            return True
        return port not in _CLOSED_PORTS and (scheme == "https" or self.allow_http) and is_public(address)

    def check(self, url: str) -> Target:
        """Everything that can be said without asking DNS. Raises OutboundRefused."""
        target = parse(url)
        host, port = target.host, target.port
        if target.address is not None:
            if not self.permits(target.scheme, host, port):
                if not is_public(target.address):
                    raise OutboundRefused("This address is not public.")
                raise OutboundRefused(_HTTPS_ONLY if target.scheme == "http" else f"Port {port} is not for HTTP.")
            return target
        if host == "localhost" or host.endswith(".localhost"):
            raise OutboundRefused("localhost is this server itself; give a public name.")
        # Whether the name leads into a range that the operator opened is seen when dialling.
        opened = any(network.port in (None, port) for network in self.allowed)
        if target.scheme == "http" and not self.allow_http and not opened:
            raise OutboundRefused(_HTTPS_ONLY)
        if port in _CLOSED_PORTS and not opened:
            raise OutboundRefused(f"Port {port} is not for HTTP.")
        return target


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet, whatever Python's release thinks of it."""
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return False
        if address.ipv4_mapped is None:
            return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)
        address = address.ipv4_mapped
    return not any(address in network for network in _NOT_PUBLIC_4)


def parse(url: str) -> Target:
    """Read a URL strictly. Raises OutboundRefused for everything that two programs might read differently."""
    if len(url) > _MAX_URL_CHARACTERS:
        raise OutboundRefused(f"The URL is longer than {_MAX_URL_CHARACTERS} characters.")
    found = _URL.fullmatch(url)
    if not found:
        raise OutboundRefused("This is not a plain http(s) URL: scheme, host, optional port and path, no user, no #.")
    scheme, host, port_text, path, query = found.groups()
    scheme = scheme.lower()
    port = int(port_text) if port_text else 443 if scheme == "https" else 80
    if not 0 < port < 65536:
        raise OutboundRefused("A port is a number from 1 to 65535.")
    target = (path or "/") + (query or "")
    if not _TARGET.fullmatch(target):
        raise OutboundRefused("The path holds characters that a URL must escape.")
    if host.startswith("["):
        try:
            six = IPv6Address(host[1:-1])
        except ValueError:
            raise OutboundRefused("This is not an IPv6 address.") from None
        return Target(scheme, str(six), port, target, six)
    name = _normalize_name(host)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # as WHATWG has it: a name that ends in a number is an IPv4 address
        try:
            four = IPv4Address(name)
        except ValueError:
            raise OutboundRefused("An IPv4 address is four decimal numbers.") from None
        return Target(scheme, str(four), port, target, four)
    return Target(scheme, name, port, target, None)


def check_url(url: str) -> None:
    """For forms and the API when a URL is saved: syntax, port and literal address. Raises OutboundRefused."""
    Policy.from_settings().check(url)


def origin_of(url: str) -> str:
    """The normalized origin, `https://host:port`. Raises OutboundRefused."""
    return parse(url).origin


def _normalize_name(host: str) -> str:
    name = host.lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise OutboundRefused("This is not a host name.") from None
    name = name.removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise OutboundRefused("This is not a host name.")
    return name
