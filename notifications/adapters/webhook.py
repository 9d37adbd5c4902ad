"""Webhooks by HTTP, signed as Standard Webhooks has it, through the one outbound door."""

from __future__ import annotations

import asyncio
import base64
import hmac
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from uuid import UUID

from django.conf import settings

from common.outbound import Door, OutboundError, OutboundRefused, Timeouts

TIMEOUTS = Timeouts(connect=5, first_byte=10, idle=5, total=15)
#: The answer's body is not read: its status says all there is to say. One that announces more than this is no answer.
MAX_ANSWER_BYTES = 1024 * 1024
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Post:
    """One attempt. `name`: the event's id, the same in each of its attempts."""

    id: UUID
    name: str
    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. status: None where there was no answer. `reason` is empty for what was taken.

    is_final: another attempt would end the same way.
    """

    status: int | None
    reason: str = ""
    is_final: bool = False


def signature(secret: bytes, name: str, at: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA-256 over `<id>.<unix seconds>.<body>`."""
    signed = b"%b.%d.%b" % (name.encode(), at, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


class Sender:
    """Sends many at once, on an event loop and a thread of its own; `with Sender() as sender`."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="webhooks", daemon=True)
        self._thread.start()
        self._door = self._call(self._open()).result()  # it belongs to the loop
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._door.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, post: Post) -> Future[Outcome]:
        """Never raises what a receiver can cause."""
        return self._call(self._send(post))

    def _call(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _open(self) -> Door:
        return Door()

    async def _send(self, post: Post) -> Outcome:
        at = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Agorai/{settings.VERSION}",
            "webhook-id": post.name,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(post.secret, post.name, at, post.body),
        }
        try:
            async with self._door.stream(
                "POST", post.url, headers=headers, body=post.body, timeout=TIMEOUTS, max_bytes=MAX_ANSWER_BYTES
            ) as reply:
                return outcome_of(reply.status)
        except OutboundRefused as refusal:
            return Outcome(None, str(refusal), is_final=True)
        except OutboundError as error:
            return Outcome(None, str(error))


def outcome_of(status: int) -> Outcome:
    """Only 2xx is a yes. 410 is a wish to hear no more; a redirect is not followed."""
    if 200 <= status < 300:
        return Outcome(status)
    if status == 410:
        return Outcome(status, "The receiver answered 410 Gone.", is_final=True)
    if 300 <= status < 400:
        return Outcome(status, f"The receiver answered {status}, and redirects are not followed.")
    return Outcome(status, f"The receiver answered {status}.")
