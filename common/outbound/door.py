"""The door itself: aiohttp, with the check where the socket is made.

A check of the URL is blind to DNS that answers differently the second time, and a check of the resolver is skipped for
literal addresses. The socket factory sees what the kernel is about to dial.
"""

import asyncio
import io
import logging
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from common.outbound.addresses import Policy
from common.outbound.errors import (
    OutboundBadAnswer,
    OutboundRefused,
    OutboundTimeout,
    OutboundTooLarge,
    OutboundUnreachable,
)

logger = logging.getLogger(__name__)

LIFETIME_SECONDS = 60  # no connection is used longer than this without being checked anew
KEEPALIVE_SECONDS = 4  # idle; less than the five seconds after which common servers hang up
MAX_LINE_BYTES = 8190
MAX_HEADERS = 100
MAX_ANSWERS = 16  # addresses of one name
WHOLE_BYTES = 512 * 1024  # larger bodies are sent in pieces, and others may send between them
DNS_THREADS = 32  # so that one publisher's slow name servers do not hold up the others

# What we set ourselves, and what belongs to the connection instead of the message.
# fmt: off
_OWN_HEADERS = frozenset((
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))
_READ_HEADERS = frozenset((
    "content-language", "content-type", "openai-model", "openai-processing-ms", "openai-version", "retry-after",
    "retry-after-ms", "x-request-id",
))
# fmt: on
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,8000}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect`: name, socket and TLS; `first_byte`: until the headers; `idle`: between two chunks."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower case; only those on the allow-list are kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedReply:
    """An answer being read; `chunks()` once, within the `async with`."""

    def __init__(self, response: aiohttp.ClientResponse, timeout: Timeouts, deadline: float, max_bytes: int) -> None:
        self.status = response.status
        self.headers = _read_headers(response)
        self._response, self._timeout, self._deadline, self._max_bytes = response, timeout, deadline, max_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises OutboundTimeout, OutboundTooLarge and OutboundBadAnswer."""
        left = self._max_bytes
        loop = asyncio.get_running_loop()
        while True:
            idle_until = loop.time() + self._timeout.idle
            phase = "idle" if idle_until < self._deadline else "total"
            chunk = await _within(min(idle_until, self._deadline), phase, self._response.content.readany())
            if not chunk:
                return
            left -= len(chunk)
            if left < 0:
                raise OutboundTooLarge(f"The answer is larger than {self._max_bytes} bytes.")
            yield chunk


class Door:
    """One per process and event loop. Without arguments it obeys the settings."""

    def __init__(
        self,
        *,
        allowed: Iterable[str] | None = None,
        allow_http: bool = False,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """allowed: networks instead of OUTBOUND_ALLOWED_NETWORKS; then nothing is read from the settings.

        Raises ValueError when one is no network.
        """
        self.policy = Policy.from_settings() if allowed is None else Policy.of(allowed, allow_http=allow_http)
        self._resolver = resolver or _SystemResolver()
        self._tls = tls or ssl.create_default_context()
        self._pools: dict[str, _Pool] = {}

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
        """Close every connection, also those in use."""
        for pool in self._pools.values():
            await pool.session.close()
        self._pools.clear()
        await self._resolver.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: Timeouts = Timeouts(),
        max_bytes: int,
    ) -> Reply:
        """Send a request and read the whole answer. Redirects are answers. Raises `OutboundError`."""
        async with self.stream(method, url, headers=headers, body=body, timeout=timeout, max_bytes=max_bytes) as reply:
            chunks = [chunk async for chunk in reply.chunks()]
        return Reply(reply.status, reply.headers, b"".join(chunks))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: Timeouts = Timeouts(),
        max_bytes: int,
    ) -> AsyncIterator[StreamedReply]:
        """Send a request and read the answer as it comes; what is not read is hung up on. Raises `OutboundError`."""
        target = self.policy.check(url)
        fields = _own_headers(headers or {})
        now = asyncio.get_running_loop().time()
        deadline, headers_by = now + timeout.total, now + timeout.connect + timeout.first_byte
        pool = await self._borrow(target.scheme)
        response = None
        try:
            opening = pool.session.request(
                method,
                URL(target.url, encoded=True),
                headers=fields,
                data=io.BytesIO(body) if body and len(body) > WHOLE_BYTES else body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=timeout.connect),
            )
            phase = "first_byte" if headers_by < deadline else "total"
            response = await _within(min(headers_by, deadline), phase, opening)
            _check_answer(response, max_bytes)
            yield StreamedReply(response, timeout, deadline, max_bytes)
        finally:
            if response is not None and not response.content.at_eof():
                response.close()  # hang up instead of reading the rest
            pool.in_use -= 1
            await pool.close_if_retired()

    async def _borrow(self, scheme: str) -> "_Pool":
        """The session for this scheme; a new one now and then, so that connections do not grow old."""
        pool = old = self._pools.get(scheme)
        if pool is None or time.monotonic() - pool.born_at > LIFETIME_SECONDS:
            pool = self._pools[scheme] = _Pool(self._new_session(scheme))
        pool.in_use += 1
        if old is not None and old is not pool:
            old.retired = True
            await old.close_if_retired()
        return pool

    def _new_session(self, scheme: str) -> aiohttp.ClientSession:
        def open_socket(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, address = info
            scope = address[3] if len(address) > 3 else 0
            if scope or not self.policy.permits(scheme, address[0], address[1]):
                raise _AddressRefused
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(
            socket_factory=open_socket,
            resolver=_CheckedResolver(self._resolver, self.policy, scheme),
            use_dns_cache=False,
            ssl=self._tls,
            limit=0,  # how many calls run at once is the gateway's business
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers={"Accept-Encoding": "identity", "User-Agent": "Agorai"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Content-Type",),
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )


async def _within(deadline: float, phase: str, awaitable: Awaitable[T]) -> T:
    """The result, or one of our errors. phase: what has timed out when the deadline (loop time) passes."""
    try:
        async with asyncio.timeout_at(deadline):
            return await awaitable
    except aiohttp.ConnectionTimeoutError as error:
        raise OutboundTimeout("connect") from error
    except TimeoutError as error:
        raise OutboundTimeout(phase) from error
    except aiohttp.ClientConnectorDNSError as error:
        raise OutboundUnreachable("The host name does not resolve.") from error
    except aiohttp.ClientSSLError as error:
        raise OutboundUnreachable("TLS failed: the certificate is not valid for this host.") from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _AddressRefused):
            raise OutboundRefused("This address is not public.") from error
        raise OutboundUnreachable("Nothing answers at this host and port.") from error
    except aiohttp.ServerDisconnectedError as error:
        raise OutboundUnreachable("The server hung up without an answer.") from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, aiohttp.http.HttpProcessingError) as error:
        raise OutboundBadAnswer("The answer is not proper HTTP or ends too early.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise OutboundUnreachable("The connection broke.") from error


def _check_answer(response: aiohttp.ClientResponse, max_bytes: int) -> None:
    if response.status < 200:
        raise OutboundBadAnswer("The server wants to switch protocols.")
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise OutboundBadAnswer("The answer is compressed, though it was asked for plain.")
    if (response.content_length or 0) > max_bytes:
        raise OutboundTooLarge(f"The answer is larger than {max_bytes} bytes.")


def _read_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        if name.lower() in _READ_HEADERS:
            headers.setdefault(name.lower(), value)
    return headers


def _own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise OutboundRefused(f"The header {name[:60]!r} cannot be sent.")
        if not _HEADER_VALUE.fullmatch(value):
            raise OutboundRefused(f"The value of the header {name[:60]!r} holds characters that cannot be sent.")
    return dict(headers)


class _AddressRefused(OSError):
    """Raised inside aiohttp, which passes on an OSError as it is."""


class _Pool:
    """A session, how old it is, and whether anybody still reads from it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.born_at = time.monotonic()
        self.in_use = 0
        self.retired = False

    async def close_if_retired(self) -> None:
        if self.retired and self.in_use == 0:
            await self.session.close()


class _SystemResolver(AbstractResolver):
    """The system's resolver, on threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="outbound-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        # A scope id stays on the address, where the check refuses it.
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _CheckedResolver(AbstractResolver):
    """Every answer has to pass: a name that leads inside even once is refused as a whole."""

    def __init__(self, inner: AbstractResolver, policy: Policy, scheme: str) -> None:
        self._inner, self._policy, self._scheme = inner, policy, scheme

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not found or len(found) > MAX_ANSWERS:
            raise OutboundUnreachable("The host name does not resolve.")
        if not all(self._policy.permits(self._scheme, answer["host"], port) for answer in found):
            raise OutboundRefused("The host name leads to an address that is not public.")
        return found

    async def close(self) -> None:
        """The inner resolver belongs to the door."""
