"""The door itself: requests, and the check where the socket is made.

A check of the URL is blind to DNS that answers differently the second time, and a check of the resolver is skipped for
literal addresses. The socket factory sees what the kernel is about to dial.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, Self

from aiohappyeyeballs import start_connection

from common.outbound.addresses import Policy, Target
from common.outbound.connection import PIECE_BYTES, Connection, Timeouts
from common.outbound.errors import OutboundNotSent, OutboundRefused, OutboundTimeout, OutboundUnreachable
from common.outbound.heads import head_of, header_lines
from common.outbound.pool import Pool

logger = logging.getLogger(__name__)

MAX_TARGETS = 4096
MAX_ANSWERS = 16  # addresses of one name
USUAL = Timeouts()
DNS_THREADS = 32  # so that one publisher's slow name servers do not hold up the others
NEXT_ADDRESS_SECONDS = 0.25  # after which the next address of a name is tried beside the one before


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, as text. Raises OSError when it has none."""

    async def close(self) -> None:
        """Nothing is asked any more."""


class Reply(NamedTuple):
    """A whole answer. Header names are lower case; only those on the allow-list are kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedReply:
    """An answer being read, piece by piece, until it is closed; what was not read by then is hung up on."""

    __slots__ = ("_connection", "_origin", "_pool", "headers", "piece", "status")

    def __init__(self, connection: Connection, pool: Pool, origin: str) -> None:
        self._connection, self._pool, self._origin = connection, pool, origin
        self.status = connection.status
        self.headers = connection.read_headers
        #: `await piece()`: see there. Raises OutboundTimeout, OutboundTooLarge and OutboundBadAnswer.
        self.piece = connection.piece

    async def chunks(self) -> AsyncIterator[bytes]:
        """Every piece up to the end."""
        while piece := await self.piece():
            yield piece

    def close(self) -> None:
        self._pool.give_back(self._origin, self._connection)


class Route:
    """The way of one kind of request: where it goes and what is the same in each is checked and written once."""

    __slots__ = ("_accept", "_door", "_has_body", "_head", "_origin", "_pool", "_target")

    def __init__(self, door: Door, target: Target, method: str, headers: Mapping[str, str]) -> None:
        """Raises OutboundRefused for what would break a request or belongs to the connection."""
        self._door, self._pool, self._target, self._origin = door, door.pool, target, target.origin
        self._head = head_of(target, method, headers)
        self._has_body = method in ("POST", "PUT", "PATCH")
        self._accept = headers.get("Accept", "")

    async def request(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: Timeouts = USUAL,
        max_bytes: int,
    ) -> Reply:
        """Send, and read the whole answer. headers: of this one, beside those of all. Raises `OutboundError`."""
        connection = await self._send(headers, body, timeout, max_bytes)
        try:
            whole = await connection.whole()
            return Reply(connection.status, connection.read_headers, whole)
        finally:
            self._pool.give_back(self._origin, connection)

    async def open(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: Timeouts = USUAL,
        max_bytes: int,
    ) -> StreamedReply:
        """Send, and return when the answer has begun. It is the caller's to close. Raises `OutboundError`."""
        connection = await self._send(headers, body, timeout, max_bytes)
        try:
            await connection.headers()
        except BaseException:
            self._pool.give_back(self._origin, connection)
            raise
        return StreamedReply(connection, self._pool, self._origin)

    async def _send(
        self, headers: Mapping[str, str] | None, body: bytes | None, timeout: Timeouts, max_bytes: int
    ) -> Connection:
        """A connection on which the request is under way."""
        head = self._head + header_lines(headers) if headers else self._head
        if body is not None or self._has_body:
            head = f"{head}Content-Length: {len(body or b'')}\r\n"
        begun = f"{head}\r\n".encode("utf-8", "replace")
        rest = body or b""
        if len(rest) <= PIECE_BYTES:
            begun, rest = begun + rest, b""
        now = asyncio.get_running_loop().time()
        connection = self._pool.take(self._origin, now)
        if connection is None:
            connection = await self._door._dial(self._target, min(timeout.connect, timeout.total))
        self._pool.busy.add(connection)
        connection.send(
            begun,
            idle=timeout.idle,
            headers_by=now + timeout.connect + timeout.first_byte,
            deadline=now + timeout.total,
            max_bytes=max_bytes,
            accept=self._accept,
        )
        if rest:
            try:
                await connection.send_more(rest)
            except BaseException:
                self._pool.give_back(self._origin, connection)
                raise
        return connection


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
        self.pool = Pool()

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
        self.pool.close()
        await self._resolver.close()

    @property
    def in_use(self) -> int:
        """How many exchanges are under way."""
        return len(self.pool.busy)

    def route(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Route:
        """Raises OutboundRefused.

        headers: of every request. A good answer of another type than `Accept` names, when it names one, is
        OutboundWrongType.
        """
        return Route(self, self._target(url), method, headers or {})

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
        """Send a request and read the whole answer. Redirects are answers. Raises `OutboundError`."""
        return await self.route(method, url, headers).request(body=body, timeout=timeout, max_bytes=max_bytes)

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
        """Send a request and read the answer as it comes. Raises `OutboundError`."""
        reply = await self.route(method, url, headers).open(body=body, timeout=timeout, max_bytes=max_bytes)
        try:
            yield reply
        finally:
            reply.close()

    def _target(self, url: str) -> Target:
        """The checked URL, remembered: the check is of its text alone, that of the address comes with the socket."""
        target = self._targets.get(url)
        if target is None:
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()
            target = self._targets[url] = self.policy.check(url)
        return target

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
