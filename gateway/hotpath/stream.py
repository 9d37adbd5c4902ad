"""A streamed answer: passed on as it comes, and settled before its last event leaves.

What an event means, and what closes an answer, is the protocol's (`gateway.adapters`). The upstream is read at its own
pace, whatever the client's is (`Writer`); when the client has gone it is read on for its usage, for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import NamedTuple

from django.conf import settings

from common.money import to_decimal
from common.outbound import OutboundTimeout, Reply, StreamedReply
from common.problems import InternalError, Problem, ServiceUnavailable
from gateway import errors
from gateway.adapters import StreamReader, Usage, count_tokens
from gateway.adapters.echo import EchoReply
from gateway.hotpath.call import Gateway
from gateway.hotpath.events import EventParser
from gateway.hotpath.rules import (
    ADAPTERS,
    MAX_ERROR_BYTES,
    Call,
    check_input,
    next_hold,
    problem_of,
    settlement,
    status_problem,
    timeouts,
)
from gateway.hotpath.writer import Emit, Writer
from gateway.services.policy import Outcome
from observability.errors import IdempotentRequestRunning

logger = logging.getLogger("gateway.call")

#: After the client has gone, the upstream is read on for its usage, but no longer and no further than this.
DRAIN_SECONDS = 30
DRAIN_BYTES = 256 * 1024
MAX_STREAM_BYTES = 64 * 1024 * 1024
#: Before the first token, whoever waits is told that the call is alive, as often as this.
KEEP_ALIVE_SECONDS = 10
KEEP_ALIVE = b": keep-alive\n\n"


class Said(NamedTuple):
    """What some events say: what to pass on, how many of them hold generated text, how much, and what broke it off."""

    passed: bytes
    texts: int
    text_bytes: int
    broken: Exception | None


class Stream:
    """One streamed call. `run` raises a Problem only as long as nothing was emitted."""

    def __init__(self, gateway: Gateway, call: Call, emit: Emit, *, keeps_alive: bool = True) -> None:
        """keeps_alive: whether comments may be emitted until the first event."""
        self._gateway, self._call = gateway, call
        self._writer = Writer(emit, self.client_left)
        self._reader: StreamReader = ADAPTERS[call.listing.endpoint.protocol].Events(call.body)
        self._parser, self._clock = EventParser(), asyncio.get_running_loop().time
        self._longest = timeouts(call).idle  # seconds between two events
        self._heard_at = 0.0
        self._billed = Usage(0, 0)
        self._texts = 0  # events with generated text
        self._text_bytes = 0  # of it, also what nobody was there for any more
        self._has_begun = False
        self._keeps_alive = keeps_alive
        self._alarm: asyncio.TimerHandle | None = None
        self._is_client_gone = False
        self._is_draining = False
        self._drained_bytes = 0
        self._reading: asyncio.Timeout | None = None

    async def run(self) -> None:
        check_input(self._call)
        await self._gateway.reserve(self._call)
        if self._is_client_gone:
            await asyncio.shield(self._gateway.let_go(self._call, errors.ClientLeft(), Outcome.NOT_SENT))
            return
        problem: Problem | None = None
        if self._keeps_alive:
            self._alarm = asyncio.get_running_loop().call_later(KEEP_ALIVE_SECONDS, self._keep_alive)
        try:
            await self._read()
            if self._is_nothing():
                raise self._problem_of_nothing()
        except (Exception, asyncio.CancelledError) as error:  # what was delivered is settled, and the client told
            problem = problem_of(error)
            if isinstance(problem, InternalError):
                logger.exception("unexpected", extra={"request_id": self._call.request_id})
        finally:
            self._rest()
        cost = 0
        try:
            cost = await asyncio.shield(self._settle(problem))
        except errors.MoneyUnavailable as raised:
            problem = raised
        await self._finish(problem, cost)

    def client_left(self) -> None:
        """Nothing is emitted any more; the upstream is read on for its usage, for a while."""
        if self._is_client_gone:
            return
        self._is_client_gone = True
        self._writer.leave()
        if self._is_kept or self._reading is None:  # nothing to end: it is not read yet, or no more
            return
        gateway, until = self._gateway, asyncio.get_running_loop().time()
        if gateway.drains < settings.GATEWAY_DRAINS:
            gateway.drains += 1
            self._is_draining = True
            until += DRAIN_SECONDS
        self._reading.reschedule(until)

    @property
    def _is_kept(self) -> bool:
        """Whether a repeat under the same idempotency key will get all of the answer, so that it is read to its end."""
        return self._call.claim is not None and self._call.claim.is_kept

    def _rest(self) -> None:
        """The upstream is read no further."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._is_draining:
            self._gateway.drains -= 1
            self._is_draining = False

    def _keep_alive(self) -> None:
        self._writer.write(KEEP_ALIVE)
        self._alarm = asyncio.get_running_loop().call_later(KEEP_ALIVE_SECONDS, self._keep_alive)

    # --- What comes ---

    async def _read(self) -> None:
        """Returns when the answer is complete, or was read on for long enough. Raises what broke it off."""
        gateway, call = self._gateway, self._call
        upstream = gateway.upstreams.stream(call, gateway.door_of(call), max_bytes=MAX_STREAM_BYTES)
        try:
            async with asyncio.timeout(None) as self._reading, upstream as reply:
                if reply.status != 200:
                    raise await refused_stream(reply, call.listing.endpoint.secret)
                self._heard_at = self._clock()
                while piece := await reply.piece(self._take_at_once):
                    if self._is_over():  # by what was taken at once
                        return
                    if self._is_client_gone and not self._is_kept:
                        self._drained_bytes += len(piece)
                        if self._drained_bytes > DRAIN_BYTES:
                            return
                    if found := self._events_in(piece):
                        await self._take(found)
                        if self._is_over():
                            return
                        self._heard_at = self._clock()
                await self._take(self._parser.close())
        except TimeoutError:
            return  # drained for long enough
        finally:
            self._reading = None

    def _is_over(self) -> bool:
        return self._reader.is_over

    def _events_in(self, piece: bytes) -> list[bytes]:
        """Raises OutboundTimeout when there has been none for too long: comments and pieces of a line say nothing."""
        found = self._parser.feed(piece)
        if not found and self._clock() - self._heard_at > self._longest:
            raise OutboundTimeout("idle")
        return found

    def _take_at_once(self, piece: bytes) -> bool:
        """Pass on what has just arrived, where nothing has to be waited for. False: it is left to whoever reads."""
        if self._is_client_gone or self._call.held_tokens is not None or self._writer.is_full:
            return False
        if found := self._events_in(piece):
            self._pass_on(self._understand(found))
            self._heard_at = self._clock()
        return not self._is_over()  # then there is nothing more to wait for

    async def _take(self, found: list[bytes]) -> None:
        """Pass on what these events say, as far as they can be read and the hold reaches."""
        if self._call.held_tokens is None:
            self._pass_on(self._understand(found))
        else:
            for data in found:  # one by one, so that as much is passed on as is held
                said = self._understand([data])
                if said.texts and (not self._is_client_gone or self._is_kept):
                    await self._hold()
                self._pass_on(said)
                if self._reader.is_over:
                    break
        if self._writer.is_full:
            await self._writer.room()

    def _understand(self, found: list[bytes]) -> Said:
        passed, texts, text_bytes = b"", 0, 0
        broken: Exception | None = None
        for data in found:
            try:
                some, size = self._reader.read(data)
            except Exception as error:  # what came before it is sound
                broken = error
                break
            passed = passed + some if passed else some
            if size:
                texts += 1
                text_bytes += size
            if self._reader.is_over:
                break
        self._texts += texts
        self._text_bytes += text_bytes
        return Said(passed, texts, text_bytes, broken)

    def _pass_on(self, said: Said) -> None:
        """To the client, counted. Raises what broke the answer off."""
        call, passed = self._call, said.passed
        if said.texts and (not self._is_client_gone or self._is_kept):
            if call.first_token_ms is None:
                call.first_token_ms = call.elapsed_ms()
            call.delivered_bytes += said.text_bytes
        if passed:
            self._has_begun = True
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            if self._call.claim is not None:
                self._call.claim.note(passed)
            self._writer.write(passed)
        if said.broken is not None:
            raise said.broken

    async def _hold(self) -> None:
        """Where the hold grows with what is delivered, it grows first. Raises the 402 if it cannot."""
        call = self._call
        while call.held_tokens is not None and self._generated_tokens > call.held_tokens:
            await self._gateway.extend(call, *next_hold(call))

    @property
    def _generated_tokens(self) -> int:
        """At least so many: an event is seldom less than a token, and may be many."""
        return max(self._texts, count_tokens(self._text_bytes))

    # --- How it ends ---

    def _is_nothing(self) -> bool:
        """Whether no answer came; to whoever has gone, one without text and usage is none."""
        if not (self._has_begun or self._reader.has_ending):
            return True
        return self._is_client_gone and not self._texts and self._reader.usage is None

    def _problem_of_nothing(self) -> Problem:
        if self._is_client_gone:
            return errors.ClientLeft()
        return errors.UpstreamInvalidOutput("The publisher's endpoint ended its answer before it began.")

    async def _settle(self, problem: Problem | None) -> int:
        """What was delivered is charged, also when the stream broke. Returns the cost in nano-units."""
        call, gateway, reported = self._call, self._gateway, self._reader.usage
        if problem is not None and not (self._has_begun and (self._texts or reported is not None)):
            await gateway.let_go(call, problem)
            return 0
        self._billed = reported or Usage(count_tokens(call.size), count_tokens(call.delivered_bytes), "counted")
        settle = settlement(call, self._billed, problem)
        cost = min(settle.cost_nano, call.hold_nano)
        if call.claim is not None:  # before the settlement: what is charged can be repeated
            call.claim.note(self._ending(problem, cost))
            with contextlib.suppress(ServiceUnavailable, IdempotentRequestRunning):  # then it cannot, and is told so
                await call.claim.keep(call.id)
        await gateway.settle(call, settle)
        return cost

    async def _finish(self, problem: Problem | None, cost_nano: int) -> None:
        """The last event, and the end of the answer. Raises the problem where nothing was emitted yet."""
        if problem is None or self._writer.has_written:
            self._writer.write(self._ending(problem, cost_nano), more=False)
        elif not self._is_client_gone:
            raise problem
        await self._writer.flush()

    def _ending(self, problem: Problem | None, cost_nano: int) -> bytes:
        if problem is None:
            return self._reader.ending(self._billed, to_decimal(cost_nano))
        return self._reader.broken(problem, self._call.request_id)


async def refused_stream(reply: StreamedReply | EchoReply, secret: str | None) -> Problem:
    """The problem of an upstream that answered a stream with an error status."""
    body = b""
    while chunk := await reply.piece():
        body += chunk
        if len(body) > MAX_ERROR_BYTES:
            break
    return status_problem(Reply(reply.status, reply.headers, body), secret)
