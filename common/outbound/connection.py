"""One HTTP/1.1 connection to an upstream: a request is written, its answer read strictly and within bounds.

llhttp parses; what it would take and we do not (endless headers, encodings in encodings, another protocol, a type that
nobody asked for) is refused here. Whatever goes wrong ends the connection.
"""

import asyncio
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools

from common.outbound.bodies import WINDOWS, Inflater, is_accepted
from common.outbound.errors import (
    OutboundBadAnswer,
    OutboundClosed,
    OutboundError,
    OutboundNotSent,
    OutboundTimeout,
    OutboundTooLarge,
    OutboundUnreachable,
    OutboundWrongType,
)

KEEPALIVE_SECONDS = 4  # idle; less than the five seconds after which common servers hang up
LIFETIME_SECONDS = 60  # no connection is used longer than this without being checked anew
MAX_LINE_BYTES = 8190  # of one header
MAX_HEADERS = 100
MAX_DRY_BYTES = 64 * 1024  # in a row of which none belongs to the body: headers, sizes of chunks, trailers
QUEUED_BYTES = 256 * 1024  # of a stream that nobody takes; then the upstream waits
PIECE_BYTES = 512 * 1024  # larger bodies are sent in pieces, and others may send between them

NOT_HTTP = "The answer is not proper HTTP or ends too early."
HUNG_UP = "The server hung up without an answer."

_READ_HEADERS = frozenset((b"content-type", b"retry-after"))  # and none is passed on


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect`: name, socket and TLS; `first_byte`: until the headers; `idle`: between two chunks."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 120.0


#: Is offered what has just arrived, and says whether it has dealt with it.
Taker = Callable[[bytes], bool]


class Connection(asyncio.Protocol):
    """Exchanges follow each other: `send`, then `whole`, or `headers` and `piece` until it is empty; `is_reusable`."""

    # fmt: off
    __slots__ = (
        "_accept", "_born_at", "_deadline", "_dry", "_failure", "_goes_off_at", "_has_begun", "_has_headers",
        "_has_length", "_header_count", "_headers_by", "_idle", "_idle_since", "_inflater", "_is_chunked", "_is_closed",
        "_is_complete", "_is_kept_alive", "_is_paused", "_is_streamed", "_is_under_way", "_loop", "_max_bytes",
        "_parser", "_pieces", "_poll", "_progress_at", "_queued", "_size", "_taker", "_timer", "_transport", "_waiter",
        "read_headers", "status",
    )
    # fmt: on

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._born_at = self._idle_since = self._loop.time()
        self._waiter: asyncio.Future[None] | None = None
        self._taker: Taker | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off_at = 0.0
        self._is_closed = self._is_under_way = self._is_complete = False
        self._failure: OutboundError | None = None
        self._inflater: Inflater | None = None

    # --- An exchange ---

    def send(
        self, data: bytes, *, idle: float, headers_by: float, deadline: float, max_bytes: int, accept: str = ""
    ) -> None:
        """Begin with what `data` holds of the request. What goes wrong is raised by whoever waits for the answer.

        idle: most seconds between two pieces of the answer; headers_by, deadline: loop times; accept: the types that a
        good answer may be of.
        """
        self.status = 0
        self.read_headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._queued = self._size = self._dry = self._header_count = 0
        self._progress_at = 0.0
        self._has_headers = self._has_begun = self._is_complete = self._is_paused = self._is_streamed = False
        self._has_length = self._is_chunked = self._is_kept_alive = False
        self._accept, self._inflater, self._taker = accept, None, None
        self._max_bytes, self._idle, self._deadline, self._headers_by = max_bytes, idle, deadline, headers_by
        self._is_under_way = True
        self._watch(min(headers_by, deadline))
        transport = self._transport
        if transport is None or self._is_closed:
            self._fail(OutboundNotSent(HUNG_UP))
        else:
            transport.write(data)

    async def send_more(self, body: bytes) -> None:
        """The rest of a large request, in pieces. The answer may have begun before all of it has left."""
        for first in range(0, len(body), PIECE_BYTES):
            if self._transport is None or self._is_closed:
                return
            self._transport.write(body[first : first + PIECE_BYTES])
            await asyncio.sleep(0)

    async def headers(self) -> Mapping[str, str]:
        """Those that are kept, when they have arrived, by lower-case name; then `status` is known too."""
        self._is_streamed = True
        while not self._has_headers and self._failure is None:
            await self._wait()
        if self._failure is not None:
            raise self._failure
        return self.read_headers

    async def whole(self) -> bytes:
        """The body, when it is complete."""
        while not self._is_complete and self._failure is None:
            await self._wait()
        if self._failure is not None:
            raise self._failure
        return self._take()

    async def piece(self, taker: Taker | None = None) -> bytes:
        """What has arrived of the body since the last call, or the next of it; empty when there is no more.

        taker: what it deals with where it arrives, while this waits, is not returned: nobody has to be woken for it.
        What it raises is raised here.
        """
        self._taker = taker
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._is_complete:
                return b""
            self._progress_at = self._loop.time()  # what we took our time with is not the upstream's delay
            await self._wait()
        return self._take()

    def _take(self) -> bytes:
        pieces, self._pieces, self._queued = self._pieces, [], 0
        if self._is_paused and not self._is_closed and self._transport:
            self._is_paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _hand_over(self) -> None:
        """What has just arrived of a stream, to whoever waits for it."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._taker is not None:
            data = self._take()
            try:
                if self._taker(data):
                    return
            except Exception as error:
                waiter.set_exception(error)
                return
            self._pieces.append(data)
        self._wake()

    def _wait(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- Its end ---

    def is_reusable(self) -> bool:
        """Whether another request may follow, now that the answer was taken to its end; then it is idle."""
        if not self._is_complete or self._is_closed or not self._is_kept_alive:
            return False
        self._is_under_way, self._taker = False, None
        self._idle_since = self._loop.time()
        return True

    def is_fresh(self, now: float) -> bool:
        """Whether an idle connection can be trusted with a request: nothing has come on it, its end included."""
        return not (
            self._is_closed
            or now - self._idle_since > KEEPALIVE_SECONDS
            or now - self._born_at > LIFETIME_SECONDS
            or self._poll.poll(0)
        )

    def close(self) -> None:
        """Hang up; what was not read is lost."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def cut_off(self) -> None:
        """Hang up in the middle of an exchange. Whoever waits for it gets OutboundClosed."""
        self._fail(OutboundClosed("The process that asked has ended."))

    def _fail(self, error: OutboundError) -> None:
        self._failure = self._failure or error
        self.close()
        self._wake()

    # --- Time ---

    def _watch(self, due: float) -> None:
        """Be woken by then. There is one timer for all exchanges, set anew when it goes off or an earlier one is due:
        so most exchanges need none of their own."""
        if self._timer is not None:
            if self._goes_off_at <= due:
                return
            self._timer.cancel()
        self._timer, self._goes_off_at = self._loop.call_at(due, self._look), due

    def _look(self) -> None:
        """Whether the exchange under way has taken too long."""
        self._timer = None
        if not self._is_under_way or self._is_complete:
            return
        now = self._loop.time()
        waits_for_us = self._is_streamed and (self._waiter is None or bool(self._pieces))
        if now >= self._deadline:
            self._fail(OutboundTimeout("total"))
        elif not self._has_headers:
            if now >= self._headers_by:
                self._fail(OutboundTimeout("first_byte"))
            else:
                self._watch(min(self._headers_by, self._deadline))
        else:
            due = (now if waits_for_us else self._progress_at) + self._idle
            if now >= due:
                self._fail(OutboundTimeout("idle"))
            else:
                self._watch(min(due, self._deadline))

    # --- What asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)

    def connection_lost(self, error: Exception | None) -> None:
        self._is_closed = True
        if not self._is_under_way or self._is_complete:
            return
        if not self._has_begun:  # a kept connection was being closed while the request was on its way
            was_kept = self._idle_since != self._born_at
            self._fail(OutboundNotSent(HUNG_UP) if was_kept else OutboundUnreachable(HUNG_UP))
        elif error is not None:
            self._fail(OutboundUnreachable("The connection broke."))
        elif self._has_headers and not self._has_length and not self._is_chunked:
            self._complete()  # such an answer ends with its connection
        else:
            self._fail(OutboundBadAnswer(NOT_HTTP))

    def data_received(self, data: bytes) -> None:
        if not self._is_under_way or self._is_complete:
            self.close()  # nobody asked for this
            return
        self._has_begun = True
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break_off("The server wants to switch protocols.")
        except httptools.HttpParserError:
            self._break_off(NOT_HTTP)
        if self._dry > MAX_DRY_BYTES:
            self._break_off(NOT_HTTP)
        if self._pieces and self._is_streamed:
            self._hand_over()

    def _break_off(self, sentence: str) -> None:
        """An answer that was complete stands; what came after it is the end of the connection alone."""
        if self._is_complete:
            self.close()
        else:
            self._fail(OutboundBadAnswer(sentence))

    # --- What llhttp tells ---

    def on_message_begin(self) -> None:
        if self._is_complete:
            self.close()  # another answer, which nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if len(name) + len(value) > MAX_LINE_BYTES or self._header_count > MAX_HEADERS:
            self._fail(OutboundBadAnswer("The answer has too many headers, or too long ones."))
            return
        if self._has_headers:
            return  # a trailer
        name = name.lower()
        if name in _READ_HEADERS:
            self.read_headers.setdefault(name.decode("latin-1"), value.decode("utf-8", "replace"))
        elif name == b"content-length":
            self._has_length = True
            if int(value) > self._max_bytes:
                self._fail(OutboundTooLarge(f"The answer is larger than {self._max_bytes} bytes."))
        elif name == b"transfer-encoding":
            self._is_chunked = True
            if value.strip().lower() != b"chunked":
                self._fail(OutboundBadAnswer("The answer is encoded in a way that was not asked for."))
        elif name == b"content-encoding":
            self._set_encoding(value.decode("latin-1").strip().lower())

    def _set_encoding(self, encoding: str) -> None:
        """It was asked for plain. One that can be unpacked within bounds is; one in another is refused."""
        if encoding in ("", "identity"):
            return
        if encoding not in WINDOWS or self._inflater is not None:
            self._fail(OutboundBadAnswer("The answer is compressed, though it was asked for plain."))
        else:
            self._inflater = Inflater(encoding)

    def on_headers_complete(self) -> None:
        if self._is_complete or self._failure is not None:
            return  # of an answer that nobody asked for, or that was given up
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer; the real one follows
            self.read_headers.clear()
            self._inflater = None
            return
        if (
            self._accept
            and self.status < 300
            and not is_accepted(self.read_headers.get("content-type", ""), self._accept)
        ):
            self._fail(OutboundWrongType("The answer is of another type than was asked for."))
            return
        self._has_headers = True
        self._progress_at = self._loop.time()
        if self._progress_at + self._idle < self._goes_off_at:
            self._watch(self._progress_at + self._idle)
        if self._is_streamed:
            self._wake()

    def on_body(self, body: bytes) -> None:
        self._dry = 0
        if self._failure is not None or self._is_complete:
            return
        if self._inflater is not None:
            try:
                body = self._inflater.feed(body, self._max_bytes - self._size)
            except OutboundError as error:
                self._fail(error)
                return
            if not body:
                return
        self._size += len(body)
        self._progress_at = self._loop.time()
        if self._size > self._max_bytes:
            self._fail(OutboundTooLarge(f"The answer is larger than {self._max_bytes} bytes."))
            return
        self._pieces.append(body)
        if self._is_streamed:
            self._queued += len(body)
            if self._queued > QUEUED_BYTES and not self._is_paused and not self._is_closed and self._transport:
                self._is_paused = True
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status >= 200 and self._failure is None and not self._is_complete:
            self._is_kept_alive = self._parser.should_keep_alive()  # known now, and not later
            self._complete()

    def _complete(self) -> None:
        if self._inflater is not None:
            try:
                self._inflater.end()
            except OutboundError as error:
                self._fail(error)
                return
        self._is_complete = True
        self._wake()
