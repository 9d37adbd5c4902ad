"""The contract check itself: eight questions put to an endpoint, one after the other. Knows no row and no person.

Each answer is a `Step`: what came of it as a code of `gateway.services.check_words`, with the facts its sentences need.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

import msgspec
from django.conf import settings

from common.ids import encode, uuid7
from common.logs import HIDDEN, mask
from common.outbound import (
    Door,
    OutboundClosed,
    OutboundError,
    OutboundRefused,
    OutboundTimeout,
    OutboundTooLarge,
    OutboundWrongType,
    Reply,
    Timeouts,
)
from common.problems import FieldError, Problem
from gateway.adapters import Usage, anthropic, http_json, openai
from gateway.services.contract import NAMES, Broken, Found, Step, Subject
from gateway.services.examples import kept_example

SPEAK: dict[str, ModuleType] = {"json": http_json, "openai": openai, "anthropic": anthropic}

PARALLEL = 10
LEFT = 5  # requests that are hung up on
MOST_SECONDS = 60  # for one exchange, whatever the endpoint's own limit is
WHOLE_SECONDS = 300
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # as for a call
MAX_STREAM_BYTES = 4 * 1024 * 1024
LARGE_BYTES = 256 * 1024
FEW_TOKENS = 64  # of answers whose length can be bounded: a check should cost its publisher little
SHOWN_CHARACTERS = 1500  # of what was sent and what came back


async def check_contract(subject: Subject, door: Door) -> AsyncGenerator[Step]:
    """The eight steps, each as soon as it is known. What cannot be reached is asked nothing more."""
    probe = _Probe(subject, door)
    questions: dict[str, Callable[[], Awaitable[Found]]] = {name: getattr(probe, f"ask_{name}") for name in NAMES}
    deadline = time.monotonic() + WHOLE_SECONDS
    is_there = True
    for name, ask in questions.items():
        if not is_there:
            yield Step(name, "skipped", "not_asked", {})
            continue
        step = await probe.answer_to(name, ask, deadline - time.monotonic())
        is_there = name != "reach" or step.outcome != "failed"
        yield step


class _Probe:
    def __init__(self, subject: Subject, door: Door) -> None:
        self._subject, self._door = subject, door
        self._target, self._speaks = subject.target, SPEAK[subject.target.protocol]
        self._sent = self._received = ""
        self._stranger_status = 0
        self._reply: Reply | None = None  # to the sample, with the credential
        self._answer_ms = 0

    async def answer_to(self, name: str, ask: Callable[[], Awaitable[Found]], seconds: float) -> Step:
        self._sent = self._received = ""
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(seconds, 0)):
                found = await ask()
            outcome = found.outcome
        except Broken as broken:
            found, outcome = Found(broken.code, broken.facts), "failed"
        except TimeoutError:
            found, outcome = Found("took_too_long", {"seconds": WHOLE_SECONDS}), "failed"
        except OutboundClosed:
            raise
        except OutboundError as error:
            found, outcome = _no_answer(error), "failed"
        took = int((time.monotonic() - began) * 1000) if outcome != "skipped" else None
        took = found.milliseconds if found.milliseconds is not None else took
        sent, received = self._shown(self._sent), self._shown(self._received)
        return Step(name, outcome, found.code, found.facts, took, sent, received, found.example)

    # --- The questions ---

    async def ask_reach(self) -> Found:
        """Is it public, is it HTTP, and does it answer here instead of leading elsewhere?"""
        reply = await self._exchange(self._body(), is_known=False, accept="*/*")
        self._stranger_status = reply.status
        if 300 <= reply.status < 400:
            raise Broken("redirects", status=reply.status)
        is_safe = self._target.url.lower().startswith("https:")
        return Found("reached" if is_safe else "reached_in_clear", {"status": reply.status})

    async def ask_credential(self) -> Found:
        """Does it keep strangers out, and let the gateway in?"""
        began = time.monotonic()
        reply = await self._exchange(self._body())
        self._answer_ms = int((time.monotonic() - began) * 1000)
        facts = {"stranger": self._stranger_status, "status": reply.status}
        if reply.status in (401, 403):
            raise Broken("credential_refused", **facts)
        if reply.status != 200:
            raise Broken("no_good_answer", **facts)
        self._reply = reply
        if self._stranger_status // 100 == 2:
            if self._target.secret is not None:
                raise Broken("credential_ignored", **facts)
            return Found("open_to_all", facts, "open")
        return Found("credential_accepted", facts)

    async def ask_answer(self) -> Found:
        """Does the answer fit the schema, and say what it used?"""
        reply = self._reply or await self._exchange(self._body())
        self._show(reply)
        usage = self._read(reply)
        facts: dict[str, Any] = {"bytes": len(reply.body)}
        kind, secret = self._subject.kind, self._target.secret
        example = kept_example(kind=kind, sent=self._asked(), received=_json_of(reply), secret=secret)
        if usage is None:
            return Found("fits", facts, milliseconds=self._answer_ms, example=example)
        facts |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        return Found("fits_with_usage", facts, milliseconds=self._answer_ms, example=example)

    async def ask_stream(self) -> Found:
        """Does a stream consist of the protocol's events, end with its usage, and say that it has ended?"""
        if not self._subject.streams:
            return Found("does_not_stream", outcome="skipped")
        reader = self._speaks.Events(self._body(is_streamed=True))
        first_ms, generated, began = None, 0, time.monotonic()
        async for data in self._events():
            try:
                _passed, size = reader.read(data)
            except Problem as problem:
                raise Broken("stream_reports_error", reason=problem.detail) from None
            generated += size
            if size and first_ms is None:
                first_ms = int((time.monotonic() - began) * 1000)
            if reader.is_over:
                break
        if not generated:
            raise Broken("stream_is_empty")
        if not reader.is_over:
            raise Broken("stream_without_end", ending=_ENDINGS[self._target.protocol])
        if reader.usage is None:
            raise Broken("stream_without_usage", option=_USAGE_OPTIONS[self._target.protocol])
        return Found("streams", {"first_token_ms": first_ms or 0, "output_tokens": reader.usage.output_tokens})

    async def ask_error(self) -> Found:
        """Is a request that is wrong refused with 4xx, in words that can be passed on?"""
        reply = await self._exchange(self._wrong_body())
        if reply.status in (401, 403, 404, 429) or not 400 <= reply.status < 500:
            raise Broken("error_status", status=reply.status)
        document = _json_of(reply)
        if not isinstance(document, dict):
            raise Broken("error_not_json", status=reply.status)
        is_said = self._target.protocol == "json"
        if isinstance(error := document.get("error"), dict):
            is_said = is_said or isinstance(error.get("message"), str)
        if not is_said:
            raise Broken("error_without_message", status=reply.status)
        return Found("refuses_in_words", {"status": reply.status})

    async def ask_limits(self) -> Found:
        """Is a large request answered at all, one way or the other, and a usual one within the endpoint's time?"""
        reply = await self._exchange({**self._wrong_object(), "padding": "x" * LARGE_BYTES}, shows=False)
        self._sent = f"POST {self._address()}\n{{… {LARGE_BYTES // 1024} KiB …}}"
        if reply.status >= 500:
            raise Broken("large_breaks", status=reply.status, kib=LARGE_BYTES // 1024)
        facts = {"status": reply.status, "kib": LARGE_BYTES // 1024, "seconds": self._target.timeout_seconds}
        return Found("within_limits", {**facts, "answer_ms": self._answer_ms})

    async def ask_parallel(self) -> Found:
        """Do ten at once all get a good answer?"""

        async def one() -> str:
            try:
                reply = await self._exchange(self._body(), shows=False)
            except OutboundClosed:
                raise
            except OutboundError as error:
                return str(error)
            return "" if reply.status == 200 and not self._faults(reply) else str(reply.status)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(PARALLEL)]
        bad = [found for task in tasks if (found := task.result())]
        if bad:
            kinds = ", ".join(sorted(set(bad)))
            raise Broken("parallel_fails", good=PARALLEL - len(bad), all=PARALLEL, reasons=kinds)
        return Found("parallel_holds", {"all": PARALLEL})

    async def ask_hang_up(self) -> Found:
        """When callers leave in the middle, is the next one served as fast as before?"""
        await asyncio.gather(*(self._leave() for _ in range(LEFT)))
        began = time.monotonic()
        reply = await self._exchange(self._body())
        took = int((time.monotonic() - began) * 1000)
        allowed = max(3 * self._answer_ms, self._answer_ms + 2000)
        if reply.status != 200:
            raise Broken("fails_after_hang_up", status=reply.status, left=LEFT)
        if took > allowed:
            raise Broken("slow_after_hang_up", took_ms=took, usual_ms=self._answer_ms, left=LEFT)
        return Found("stops", {"took_ms": took, "usual_ms": self._answer_ms, "left": LEFT})

    # --- What is sent ---

    def _body(self, *, is_streamed: bool = False) -> dict[str, Any]:
        named = self._target.upstream_model or self._subject.slug
        asked = self._asked(is_streamed=is_streamed)
        sent: dict[str, Any] = self._speaks.request(asked, upstream_model=named, stream=is_streamed)
        return sent

    def _asked(self, *, is_streamed: bool = False) -> dict[str, Any]:
        """As a caller would ask it here, but for the model's name."""
        body = dict(self._subject.sample)
        if self._subject.streams:
            body = {"max_tokens": FEW_TOKENS, **body} | ({"stream": True} if is_streamed else {})
            if not is_streamed:
                body.pop("stream", None)
        return body

    def _wrong_object(self) -> dict[str, Any]:
        """A request without what every one of its kind has."""
        if self._target.protocol == "json":
            return {}
        return {"model": self._target.upstream_model or self._subject.slug}

    def _wrong_body(self) -> Any:
        if self._target.protocol == "json":
            return []  # an input is an object
        return self._wrong_object() | ({"messages": []} if "messages" in self._subject.sample else {})

    def _address(self) -> str:
        url: str = self._speaks.url(self._target.url, self._subject.kind)
        return url

    def _headers(self, content: bytes, *, accept: str, is_known: bool) -> dict[str, str]:
        """As of a call; `is_known`: with what proves that it is the gateway."""
        request_id, at = encode("req", uuid7()), int(time.time())
        headers = {"Content-Type": "application/json", "Accept": accept, "User-Agent": f"Agorai/{settings.VERSION}"}
        if self._target.protocol == "anthropic":
            headers |= anthropic.headers({})
        if not is_known:
            return headers
        signed = b"%d.%b.%b" % (at, request_id.encode(), content)
        headers["X-Agorai-Request-Id"] = request_id
        headers["X-Agorai-Signature"] = f"t={at},v1={hmac.digest(self._target.signing_key, signed, 'sha256').hex()}"
        if (secret := self._target.secret) is not None:
            is_bearer = self._target.auth_header.lower() == "authorization" and " " not in secret
            headers[self._target.auth_header] = f"Bearer {secret}" if is_bearer else secret
        return headers

    async def _exchange(
        self, body: Any, *, is_known: bool = True, accept: str = "application/json", shows: bool = True
    ) -> Reply:
        content = msgspec.json.encode(body)
        if shows:
            self._sent = f"POST {self._address()}\n{content.decode()}"
        reply = await self._door.request(
            "POST",
            self._address(),
            headers=self._headers(content, accept=accept, is_known=is_known),
            body=content,
            timeout=self._timeouts(),
            max_bytes=MAX_ANSWER_BYTES,
        )
        if shows:
            self._show(reply)
        return reply

    async def _events(self) -> AsyncIterator[bytes]:
        """The data of each event of a streamed answer to the sample."""
        content = msgspec.json.encode(self._body(is_streamed=True))
        self._sent = f"POST {self._address()}\n{content.decode()}"
        waiting = bytearray()
        async with self._door.stream(
            "POST",
            self._address(),
            headers=self._headers(content, accept="text/event-stream", is_known=True),
            body=content,
            timeout=self._timeouts(),
            max_bytes=MAX_STREAM_BYTES,
        ) as reply:
            if reply.status != 200:
                raise Broken("stream_status", status=reply.status)
            async for piece in reply.chunks():
                self._received = (self._received + piece.decode(errors="replace"))[-SHOWN_CHARACTERS:]
                waiting += piece.replace(b"\r", b"")
                while (end := waiting.find(b"\n\n")) >= 0:
                    event, waiting = bytes(waiting[:end]), waiting[end + 2 :]
                    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
                    if lines:
                        yield b" ".join(lines)

    async def _leave(self) -> None:
        """Begin a request, and go."""
        if self._subject.streams:
            try:
                async for _event in self._events():
                    return
            except (Broken, OutboundError):
                return
        else:
            asking = asyncio.ensure_future(self._exchange(self._body(), shows=False))
            await asyncio.wait([asking], timeout=0.02)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _timeouts(self) -> Timeouts:
        limit = min(self._target.timeout_seconds, MOST_SECONDS)
        return Timeouts(first_byte=limit, idle=limit, total=limit)

    # --- What came back ---

    def _faults(self, reply: Reply) -> list[FieldError]:
        output = _json_of(reply)
        if output is _NO_JSON or self._speaks.is_empty(output, self._subject.kind):
            return [{"pointer": "", "code": "empty", "detail": "Nothing came back."}]
        return self._subject.faults_of(output, len(reply.body))

    def _read(self, reply: Reply) -> Usage | None:
        """Raises Broken for an answer that a call would not be charged for."""
        if reply.status != 200:
            raise Broken("no_good_answer", status=reply.status, stranger=self._stranger_status)
        output = _json_of(reply)
        if output is _NO_JSON:
            raise Broken("answer_not_json")
        if self._speaks.is_empty(output, self._subject.kind):
            raise Broken("answer_is_empty")
        if faults := self._subject.faults_of(output, len(reply.body)):
            raise Broken("answer_unfit", pointer=faults[0]["pointer"] or "/", detail=faults[0]["detail"])
        usage: Usage | None = self._speaks.usage(output)
        if usage is None and self._subject.needs_usage:
            raise Broken("answer_without_usage")
        return usage

    def _show(self, reply: Reply) -> None:
        text = reply.body[: 4 * SHOWN_CHARACTERS].decode(errors="replace")
        self._received = f"HTTP {reply.status}\n{text}"

    def _shown(self, text: str) -> str:
        """For people: without the secret, which some endpoints repeat, and not too much."""
        if self._target.secret:
            text = text.replace(self._target.secret, HIDDEN)
        text = "".join(c if c.isprintable() or c == "\n" else " " for c in mask(text))
        return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


_NO_JSON: Any = object()
_ENDINGS = {"openai": "data: [DONE]", "anthropic": "message_stop"}
_USAGE_OPTIONS = {"openai": "stream_options.include_usage", "anthropic": "message_delta"}


def _json_of(reply: Reply) -> Any:
    try:
        return msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        return _NO_JSON


def _no_answer(error: OutboundError) -> Found:
    """An exchange that came to nothing, as a step has it. The door's own sentence says why."""
    match error:
        case OutboundRefused():
            code = "address_refused"
        case OutboundTimeout():
            code = "too_slow"
        case OutboundTooLarge():
            code = "too_large"
        case OutboundWrongType():
            code = "wrong_type"
        case _:
            code = "no_answer"
    return Found(code, {"reason": str(error)})
