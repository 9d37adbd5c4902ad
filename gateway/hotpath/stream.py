"""A streamed answer: passed on event by event, and settled before its last event leaves.

Usage is always asked of the upstream. A client that asked for it too gets it in the extra chunk it expects; for all
others it rides on the last chunk that has choices. Either carries `cost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from common.money import to_decimal
from common.outbound import OutboundBadAnswer, Reply, StreamedReply
from common.problems import InternalError, Problem, openai_envelope
from gateway import errors
from gateway.adapters import Usage, count_tokens, openai
from gateway.adapters.echo import EchoReply
from gateway.hotpath.call import Gateway
from gateway.hotpath.rules import (
    MAX_ERROR_BYTES,
    Call,
    check_input,
    problem_of,
    settlement,
    status_problem,
    timeouts,
    upstream_request,
)

logger = logging.getLogger("gateway.call")

#: After the client has gone, the upstream is read on for its usage, but no longer and no further than this.
DRAIN_SECONDS = 30
DRAIN_BYTES = 256 * 1024
MAX_STREAM_BYTES = 64 * 1024 * 1024
MAX_EVENT_BYTES = 1024 * 1024
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder(decimal_format="number").encode  # an exact decimal, not a binary fraction

Emit = Callable[[bytes, bool], Awaitable[None]]  # the bytes, and whether more follow


class Stream:
    """One streamed call. `run` raises a Problem only as long as nothing was emitted."""

    def __init__(self, gateway: Gateway, call: Call, emit: Emit) -> None:
        self._gateway, self._call, self._emit = gateway, call, emit
        options = call.body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._usage: Usage | None = None  # as reported
        self._billed = Usage(0, 0)
        self._delivered_bytes = 0  # of generated text
        self._has_begun = False
        self._last: dict[str, Any] | None = None  # the last chunk with a finish reason, held until the settlement
        self._usage_chunk: dict[str, Any] | None = None
        self._is_client_gone = False
        self._drained_bytes = 0
        self._reading: asyncio.Timeout | None = None

    async def run(self) -> None:
        check_input(self._call)
        await self._gateway.reserve(self._call)
        problem: Problem | None = None
        try:
            await self._pass_on()
            if not self._has_begun and self._last is None:
                raise errors.UpstreamInvalidOutput("The publisher's endpoint ended its answer before it began.")
        except (Exception, asyncio.CancelledError) as error:  # what was delivered is settled, and the client told
            problem = problem_of(error)
            if isinstance(problem, InternalError):
                logger.exception("unexpected", extra={"request_id": self._call.request_id})
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
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time() + DRAIN_SECONDS)

    async def _pass_on(self) -> None:
        url, headers, body = upstream_request(self._call)
        door = self._gateway.door_of(self._call).stream(
            "POST", url, headers=headers, body=body, timeout=timeouts(self._call), max_bytes=MAX_STREAM_BYTES
        )
        try:
            async with asyncio.timeout(DRAIN_SECONDS if self._is_client_gone else None) as self._reading, door as reply:
                if reply.status != 200:
                    raise await refused_stream(reply, self._call.listing.endpoint.secret)
                async for data in events(self._chunks(reply)):
                    if data == b"[DONE]":
                        return
                    await self._pass_event(data)
        except TimeoutError:
            return  # drained for long enough
        finally:
            self._reading = None

    async def _chunks(self, reply: StreamedReply | EchoReply) -> AsyncIterator[bytes]:
        async for chunk in reply.chunks():
            if self._is_client_gone:
                self._drained_bytes += len(chunk)
                if self._drained_bytes > DRAIN_BYTES:
                    return
            yield chunk

    async def _pass_event(self, data: bytes) -> None:
        try:
            chunk = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            raise OutboundBadAnswer("The stream holds something other than JSON.") from None
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices") or [], list):
            raise OutboundBadAnswer("The stream holds something other than chunks.")
        if chunk.get("error"):
            raise errors.UpstreamFailed("The publisher's endpoint reported an error in the middle of its answer.")
        if (usage := openai.usage(chunk)) is not None:
            self._usage = usage
        choices = chunk.get("choices")
        if not choices:
            if chunk.get("usage") is not None:
                self._usage_chunk = chunk
                return
        else:
            self._count(choices)
        if self._last is not None:
            held, self._last = self._last, None
            await self._send(_event({name: value for name, value in held.items() if name != "usage"}))
        if choices and any(isinstance(c, dict) and c.get("finish_reason") for c in choices):
            self._last = chunk
        else:
            await self._send(b"data: " + data + b"\n\n")

    def _count(self, choices: list[Any]) -> None:
        text = 0
        for choice in choices:
            if isinstance(choice, dict):
                delta = choice.get("delta")
                for part in (*(delta.values() if isinstance(delta, dict) else ()), choice.get("text")):
                    if part and part != "assistant":
                        text += len(part.encode()) if isinstance(part, str) else len(_encode(part))
        if text and self._call.first_token_ms is None:
            self._call.first_token_ms = self._call.elapsed_ms()
        if not self._is_client_gone:
            self._delivered_bytes += text

    async def _send(self, event: bytes, more: bool = True) -> None:
        self._has_begun = True
        if not self._is_client_gone:
            await self._emit(event, more)

    async def _settle(self, problem: Problem | None) -> int:
        """What was delivered is charged, also when the stream broke. Returns the cost in nano-units."""
        call, gateway = self._call, self._gateway
        if problem is not None and not self._has_begun:
            await gateway.let_go(call, problem)
            return 0
        self._billed = self._usage or Usage(count_tokens(call.size), count_tokens(self._delivered_bytes), "counted")
        settle = settlement(call, self._billed, problem)
        await gateway.settle(call, settle)
        return min(settle.cost_nano, call.hold_nano)

    async def _finish(self, problem: Problem | None, cost_nano: int) -> None:
        if problem is not None:
            if not self._has_begun:
                raise problem
            await self._send(_event(openai_envelope(problem, self._call.request_id)) + DONE, more=False)
            return
        usage = self._billed
        counts = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        reported = (self._usage_chunk or self._last or {}).get("usage")
        billed = {**(reported if isinstance(reported, dict) else {}), **counts, "cost": to_decimal(cost_nano)}
        ending = b""
        if self._last is not None:
            ending += _event(self._last if self._wants_usage else {**self._last, "usage": billed})
        if self._wants_usage:
            template = self._usage_chunk or {**(self._last or {}), "choices": []}
            ending += _event({**template, "usage": billed})
        await self._send(ending + DONE, more=False)


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event, on one line; all else in it is dropped. Raises OutboundBadAnswer."""
    rest: list[bytes] = []  # a line whose end has not arrived
    data: list[bytes] = []
    size = 0  # of both
    async for chunk in chunks:
        size += len(chunk)
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*rest, lines[0]])
            rest = []
        rest.append(last)
        for line in lines:
            line = line.strip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].strip().replace(b"\r", b" "))
            elif not line:
                if data:
                    yield b" ".join(data)
                data, size = [], len(last)
        if size > MAX_EVENT_BYTES:
            raise OutboundBadAnswer("An event of the stream is too long.")
    if data:
        yield b" ".join(data)


async def refused_stream(reply: StreamedReply | EchoReply, secret: str | None) -> Problem:
    """The problem of an upstream that answered a stream with an error status."""
    body = b""
    async for chunk in reply.chunks():
        body += chunk
        if len(body) > MAX_ERROR_BYTES:
            break
    return status_problem(Reply(reply.status, reply.headers, body), secret)


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
