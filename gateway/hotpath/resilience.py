"""How calls meet endpoints that fail: each process leaves one alone that keeps failing, and repeats what did no harm.

What fails an endpoint: it cannot be reached, hangs up, takes too long, or answers with a status from 500 on. Answers
below that, a refused input or a 429 among them, never do; nor does an answer that says the wrong thing.

**Circuit.** After `GATEWAY_CIRCUIT_FAILURES` failures in a row, or when half of at least `WINDOW_CALLS` attempts within
`WINDOW_SECONDS` failed, calls are refused with 503 `upstream_busy` before anything is reserved, for `PAUSE_SECONDS`.
Then one call is let through: if it is answered, the circuit is closed, else it stays open for twice as long, at most
`MAX_PAUSE_SECONDS`.

**Repeats.** Only where nothing was delivered, and only when
- the endpoint cannot have begun: no connection came about, or a kept one was closed before a byte of an answer, as
  servers do that had hung up in the moment of the request; it carries the id of the first, which is signed; or
- a proxy in front of the model answered 502 or 503, and the call is one of those that do nothing but answer (chats,
  completions, messages, embeddings: not `invoke`, behind which may be anything).
At most `MAX_REPEATS`, after a pause that is different each time, within the time of the call. Of an endpoint's calls at
most every fifth is repeated, `SPARE_REPEATS` aside, so that repeats never are what keeps it down.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from common.outbound import OutboundError, OutboundNotSent, OutboundTimeout, OutboundUnreachable, Reply, Timeouts
from gateway.errors import UpstreamBusy
from gateway.hotpath.rules import MAX_ANSWER_BYTES, Call, timeouts, upstream_request
from gateway.models import Invocation

if TYPE_CHECKING:
    from common.outbound import Door, StreamedReply
    from gateway.adapters.echo import EchoDoor, EchoReply

WINDOW_SECONDS, WINDOW_CALLS = 10.0, 20
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 60.0
MAX_REPEATS = 2
REPEAT_SHARE = 0.2  # of an endpoint's calls
SPARE_REPEATS = 10.0
FIRST_WAIT_SECONDS = 0.1  # twice as long before the second; each is between half of it and one and a half
MAX_CIRCUITS = 10_000

FAILURES = (OutboundTimeout, OutboundUnreachable)
REPEATED_STATUSES = frozenset({502, 503})


class Circuit:
    """What this process has seen of one endpoint lately. Instants are of its monotonic clock."""

    __slots__ = ("_counted", "_failed", "_pause", "_repeats", "_since", "_tried", "calls", "failures", "open_until")

    def __init__(self) -> None:
        self.calls = 0  # attempts, repeats left out
        self.failures = 0  # in a row
        self.open_until = 0.0  # 0: closed
        self._pause = PAUSE_SECONDS
        self._since, self._tried, self._failed = 0.0, 0, 0  # of the window, which begins with a failure
        self._repeats, self._counted = SPARE_REPEATS, 0

    def require_closed(self) -> None:
        """Raises UpstreamBusy while the endpoint is left alone."""
        if self.open_until and (left := self.open_until - time.monotonic()) > 0:
            raise UpstreamBusy(
                "The publisher's endpoint has failed again and again, and is left alone for a moment.",
                retry_after_seconds=math.ceil(left),
            )

    def begin(self) -> None:
        """An attempt leaves. Where the pause has just ended it is the trial, and the others go on waiting."""
        self.calls += 1
        if self.open_until:
            self.require_closed()
            self.open_until = time.monotonic() + self._pause

    def failed(self) -> None:
        now, threshold = time.monotonic(), settings.GATEWAY_CIRCUIT_FAILURES
        self.failures += 1
        if now - self._since > WINDOW_SECONDS:
            self._since, self._tried, self._failed = now, self.calls - 1, 0
        self._failed += 1
        tried = self.calls - self._tried
        if self.open_until:
            self._pause = min(self._pause * 2, MAX_PAUSE_SECONDS)
            self.open_until = now + self._pause
        elif threshold and (self.failures >= threshold or (tried >= WINDOW_CALLS and self._failed * 2 >= tried)):
            self.open_until = now + self._pause

    def answered(self) -> None:
        """After a failure: it is well again."""
        self.failures = 0
        if self.open_until:
            self.open_until, self._pause, self._since = 0.0, PAUSE_SECONDS, 0.0

    def take_repeat(self) -> bool:
        """Whether one more attempt is due to this endpoint's calls."""
        self._repeats = min(SPARE_REPEATS, self._repeats + REPEAT_SHARE * (self.calls - self._counted))
        self._counted = self.calls
        if self._repeats < 1 or self.open_until:
            return False
        self._repeats -= 1
        self._tried -= 1  # of the window it is an attempt like the others
        return True


class Upstreams:
    """The way to every endpoint, for one process and its event loop."""

    def __init__(self) -> None:
        self._circuits: dict[UUID, Circuit] = {}

    def require_closed(self, call: Call) -> None:
        """Raises UpstreamBusy while the call's endpoint is left alone; to be asked before anything is reserved."""
        circuit = self._circuits.get(call.listing.endpoint.endpoint_id)
        if circuit is not None and circuit.open_until:
            circuit.require_closed()

    async def ask(self, call: Call, door: Door | EchoDoor) -> Reply:
        """The whole answer to a call that was reserved. Raises OutboundError, UpstreamBusy."""
        circuit = self._circuit(call)
        route, headers, body = upstream_request(call, door)
        limits = timeouts(call)
        circuit.begin()
        for attempt in range(MAX_REPEATS + 1):
            try:
                reply = await route.request(headers=headers, body=body, timeout=limits, max_bytes=MAX_ANSWER_BYTES)
            except FAILURES as error:
                circuit.failed()
                limits = await _before_repeat(call, circuit, limits, attempt, error)
                continue
            if reply.status < 500:
                if circuit.failures:
                    circuit.answered()
                return reply
            circuit.failed()
            if not _may_repeat(call, circuit, attempt, reply):
                return reply
            limits = await _wait(call, limits, attempt)
        raise AssertionError("unreachable")

    def stream(self, call: Call, door: Door | EchoDoor, *, max_bytes: int) -> Streaming:
        """`async with upstreams.stream(…) as reply`: the answer as it comes. Raises as `ask` does, and while it is
        read."""
        return Streaming(self._circuit(call), call, door, max_bytes)

    def _circuit(self, call: Call) -> Circuit:
        id = call.listing.endpoint.endpoint_id
        return self._circuits.get(id) or self._make(id)

    def _make(self, id: UUID) -> Circuit:
        if len(self._circuits) >= MAX_CIRCUITS:
            self._circuits = {known: one for known, one in self._circuits.items() if one.failures}
            if len(self._circuits) >= MAX_CIRCUITS:
                self._circuits.clear()
        circuit = self._circuits[id] = Circuit()
        return circuit


class Streaming:
    """One streamed answer. Repeated is only what failed before its first byte was read."""

    __slots__ = ("_call", "_circuit", "_door", "_max_bytes", "_reply")

    def __init__(self, circuit: Circuit, call: Call, door: Door | EchoDoor, max_bytes: int) -> None:
        self._circuit, self._call, self._door, self._max_bytes = circuit, call, door, max_bytes

    async def __aenter__(self) -> StreamedReply | EchoReply:
        call, circuit = self._call, self._circuit
        route, headers, body = upstream_request(call, self._door)
        limits = timeouts(call)
        circuit.begin()
        for attempt in range(MAX_REPEATS + 1):
            try:
                reply = await route.open(headers=headers, body=body, timeout=limits, max_bytes=self._max_bytes)
            except FAILURES as error:
                circuit.failed()
                limits = await _before_repeat(call, circuit, limits, attempt, error)
                continue
            self._reply = reply
            if reply.status < 500:
                return reply
            circuit.failed()
            if not _may_repeat(call, circuit, attempt, reply):
                return reply
            reply.close()
            limits = await _wait(call, limits, attempt)
        raise AssertionError("unreachable")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reply.close()
        if isinstance(error, FAILURES):
            self._circuit.failed()
        elif self._circuit.failures and self._reply.status < 500 and not isinstance(error, asyncio.CancelledError):
            self._circuit.answered()


async def _before_repeat(
    call: Call, circuit: Circuit, limits: Timeouts, attempt: int, error: OutboundError
) -> Timeouts:
    """Wait, and return the time that is left. Raises the error where nothing may be repeated."""
    if not (isinstance(error, OutboundNotSent) and _is_time_left(call, attempt) and circuit.take_repeat()):
        raise error
    return await _wait(call, limits, attempt)


def _may_repeat(call: Call, circuit: Circuit, attempt: int, reply: Reply | StreamedReply | EchoReply) -> bool:
    return (
        reply.status in REPEATED_STATUSES
        and call.kind != Invocation.Kind.INVOKE
        and "retry-after" not in reply.headers  # it says itself when, which is not now
        and _is_time_left(call, attempt)
        and circuit.take_repeat()
    )


def _is_time_left(call: Call, attempt: int) -> bool:
    longest_wait = FIRST_WAIT_SECONDS * 2**attempt * 1.5
    return attempt < MAX_REPEATS and time.monotonic() - call.began + longest_wait < timeouts(call).total


async def _wait(call: Call, limits: Timeouts, attempt: int) -> Timeouts:
    await asyncio.sleep(FIRST_WAIT_SECONDS * 2**attempt * (0.5 + random.random()))
    left = max(timeouts(call).total - (time.monotonic() - call.began), 0.1)
    return replace(limits, first_byte=min(limits.first_byte, left), total=min(limits.total, left))
