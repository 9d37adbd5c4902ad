"""The door itself: a pool of connections, with the check where the socket is made.

A check of the URL is blind to DNS that answers differently the second time, and a check of the resolver is skipped for
literal addresses. The socket factory sees what the kernel is about to dial.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, Self

from aiohappyeyeballs import start_connection

from common.outbound.addresses import Policy, Target
from common.outbound.connection import KEEPALIVE_SECONDS, Connection, Timeouts
from common.outbound.errors import OutboundNotSent, OutboundRefused, OutboundTimeout, OutboundUnreachable

logger = logging.getLogger(__name__)

MAX_TARGETS = 4096
MAX_IDLE = 256  # connections kept to one origin
MAX_ANSWERS = 16  # addresses of one name
USUAL = Timeouts()
DNS_THREADS = 32  # so that one publisher's slow name servers do not hold up the others
NEXT_ADDRESS_SECONDS = 0.25  # after which the next address of a name is tried beside the one before

# What we set ourselves, and what belongs to the connection instead of the message.
# fmt: off
_OWN_HEADERS = frozenset((
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))
# fmt: on
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,8000}")
MAX_PLAIN = 8000
_METHOD = re.compile(r"[A-Z]{1,20}", re.ASCII)


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, as text. Raises OSError when it has none."""

    async def close(self) -> None:
        """Nothing is asked any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower case; only those on the allow-list are kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedReply:
    """An answer being read; `chunks()` once, within the `async with`."""

    def __init__(self, connection: Connection) -> None:
        self.status = connection.status
        self.headers = connection.read_headers
        self._connection = connection

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises OutboundTimeout, OutboundTooLarge and OutboundBadAnswer."""
        while piece := await self._connection.piece():
            yield piece


class Door:
    """One per process and event loop. Without arguments it obeys the settings."""

    def __init__(
        self,
        *,
        allowed: Iterable[str] | None = None,
        allow_http: bool = False,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """allowed: networks instead of OUTBOUND_ALLOWED_NETWORKS; then nothing is read from the settings.

        Raises ValueError when one is no network.
        """
        self.policy = Policy.from_settings() if allowed is None else Policy.of(allowed, allow_http=allow_http)
        self._resolver = resolver or SystemResolver()
        self._tls = tls or ssl.create_default_context()
        self._targets: dict[str, Target] = {}
        self._idle: dict[str, list[Connection]] = {}  # by origin, the latest last
        self._busy: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Say aloud what the operator opened."""
        for network in self.policy.allowed:
            where = f"port {network.port}" if network.port else "every port"
            logger.warning("Users' endpoints may reach %s on %s (OUTBOUND_ALLOWED_NETWORKS)", network.network, where)
        if self.policy.allow_http:
            logger.warning("Users' endpoints may be plain http (OUTBOUND_ALLOW_HTTP)")

    async def close(self) -> None:
        """Close every connection. Exchanges under way end with OutboundClosed."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._busy):
            connection.cut_off()
        for connection in (one for idle in self._idle.values() for one in idle):
            connection.close()
        self._idle.clear()
        await self._resolver.close()

    @property
    def in_use(self) -> int:
        """How many exchanges are under way."""
        return len(self._busy)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: Timeouts = USUAL,
        max_bytes: int,
    ) -> Reply:
        """Send a request and read the whole answer. Redirects are answers. Raises `OutboundError`.

        headers: a good answer of another type than `Accept` names, when it names one, is OutboundWrongType.
        """
        target = self._target(url)
        connection = await self._send(target, method, headers, body, timeout, max_bytes)
        try:
            whole = await connection.whole()
            return Reply(connection.status, connection.read_headers, whole)
        finally:
            self._give_back(target, connection)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: Timeouts = USUAL,
        max_bytes: int,
    ) -> AsyncIterator[StreamedReply]:
        """Send a request and read the answer as it comes; what is not read is hung up on. Raises `OutboundError`."""
        target = self._target(url)
        connection = await self._send(target, method, headers, body, timeout, max_bytes)
        try:
            await connection.headers()
            yield StreamedReply(connection)
        finally:
            self._give_back(target, connection)

    async def _send(
        self,
        target: Target,
        method: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        timeout: Timeouts,
        max_bytes: int,
    ) -> Connection:
        """A connection on which the request is under way."""
        head = _head(target, method, headers or {}, body)
        now = asyncio.get_running_loop().time()
        connection = self._take(target, now) or await self._dial(target, min(timeout.connect, timeout.total))
        self._busy.add(connection)
        try:
            await connection.send(
                head,
                body or b"",
                timeout=timeout,
                headers_by=now + timeout.connect + timeout.first_byte,
                deadline=now + timeout.total,
                max_bytes=max_bytes,
                accept=headers.get("Accept", "") if headers else "",
            )
        except BaseException:
            self._busy.discard(connection)
            connection.close()
            raise
        return connection

    def _target(self, url: str) -> Target:
        """The checked URL, remembered: the check is of its text alone, that of the address comes with the socket."""
        target = self._targets.get(url)
        if target is None:
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()
            target = self._targets[url] = self.policy.check(url)
        return target

    # --- The pool ---

    def _take(self, target: Target, now: float) -> Connection | None:
        idle = self._idle.get(target.origin)
        while idle:
            connection = idle.pop()
            if connection.is_fresh(now):
                return connection
            connection.close()
        return None

    def _give_back(self, target: Target, connection: Connection) -> None:
        self._busy.discard(connection)
        if connection.is_reusable():
            idle = self._idle.setdefault(target.origin, [])
            if len(idle) < MAX_IDLE:
                loop = asyncio.get_running_loop()
                connection.idle_since = loop.time()
                idle.append(connection)
                if self._sweep is None:
                    self._sweep = loop.call_later(KEEPALIVE_SECONDS, self._close_idle)
                return
        connection.close()

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for origin, idle in list(self._idle.items()):
            for connection in [one for one in idle if not one.is_fresh(now)]:
                idle.remove(connection)
                connection.close()
            if not idle:
                del self._idle[origin]
        self._sweep = loop.call_later(KEEPALIVE_SECONDS, self._close_idle) if self._idle else None

    # --- Dialling ---

    async def _dial(self, target: Target, seconds: float) -> Connection:
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(target, await self._addresses(target))
        except TimeoutError as error:
            raise OutboundTimeout("connect") from error
        except ssl.SSLError as error:
            raise OutboundUnreachable("TLS failed: the certificate is not valid for this host.") from error
        except OSError as error:
            raise OutboundNotSent("Nothing answers at this host and port.") from error

    async def _addresses(self, target: Target) -> Sequence[str]:
        """Every answer has to pass: a name that leads inside even once is refused as a whole."""
        if target.address is not None:
            return [target.host]
        try:
            found = await self._resolver.resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise OutboundUnreachable("The host name does not resolve.") from error
        if not found or len(found) > MAX_ANSWERS:
            raise OutboundUnreachable("The host name does not resolve.")
        if not all(self.policy.permits(target.scheme, address, target.port) for address in found):
            raise OutboundRefused("The host name leads to an address that is not public.")
        return found

    async def _connect(self, target: Target, addresses: Sequence[str]) -> Connection:
        was_refused = False

        def open_socket(info: tuple[Any, ...]) -> socket.socket:
            nonlocal was_refused
            family, kind, protocol, _, address = info
            scope = address[3] if len(address) > 3 else 0
            if scope or not self.policy.permits(target.scheme, address[0], address[1]):
                was_refused = True
                raise OSError("refused")
            return socket.socket(family, kind, protocol)

        infos = [_info(address, target.port) for address in addresses]
        try:
            dialled = await start_connection(
                infos, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1, socket_factory=open_socket
            )
        except OSError as error:
            if was_refused:
                raise OutboundRefused("This address is not public.") from error
            raise
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection,
                sock=dialled,
                ssl=self._tls if target.scheme == "https" else None,
                server_hostname=target.host if target.scheme == "https" else None,
            )
        except BaseException:
            dialled.close()
            raise
        return connection


def _info(address: str, port: int) -> tuple[Any, ...]:
    """As getaddrinfo has it. A scope id stays on the address, where the check refuses it."""
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _head(target: Target, method: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The request up to its body. Raises OutboundRefused for what would break it or belongs to the connection."""
    if not _METHOD.fullmatch(method):
        raise OutboundRefused(f"{method[:60]!r} is no method.")
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != (443 if target.scheme == "https" else 80):
        host = f"{host}:{target.port}"
    lines = [f"{method} {target.path} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"]
    given = set()
    for name, value in headers.items():
        given.add(_sendable(name))
        is_plain = len(value) <= MAX_PLAIN and value.isascii() and value.isprintable()
        if not is_plain and not _HEADER_VALUE.fullmatch(value):
            raise OutboundRefused(f"The value of the header {name[:60]!r} holds characters that cannot be sent.")
        lines.append(f"{name}: {value}")
    if "accept" not in given:
        lines.append("Accept: */*")
    if "user-agent" not in given:
        lines.append("User-Agent: Agorai")
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body or b'')}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


@lru_cache(1024)
def _sendable(name: str) -> str:
    """The name in lower case. Raises OutboundRefused for one that cannot be sent, or is not for others to set."""
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name) or lower in _OWN_HEADERS:
        raise OutboundRefused(f"The header {name[:60]!r} cannot be sent.")
    return lower


class SystemResolver:
    """The system's resolver, on threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="outbound-dns")

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in infos]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
