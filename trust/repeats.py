"""T12's: requests under idempotency keys, and an endpoint whose answers tell by which request they were given."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

from trust.http import Answer

PARTS = 4  # of a stream's text


class Endpoint:
    """Answers everybody differently, so that an answer tells by which request it was given. What a request says of
    itself stands in its text: how long it takes, and whether it fails the first time.
    """

    def __init__(self) -> None:
        self.asked: dict[str, list[uuid.UUID]] = defaultdict(list)  # by token, the calls
        self.slowest_seconds = 0.05

    async def __call__(self, request: Any) -> Any:
        from aiohttp import web

        from common.ids import decode
        from gateway.tests.upstream import chunk

        body = await request.json()
        token = body["text"] if "text" in body else body["messages"][0]["content"]
        calls = self.asked[token]
        calls.append(decode("req", request.headers["X-Agorai-Request-Id"]))
        word = uuid.uuid4().hex
        seconds = 0.4 if token.startswith("slow") else self.slowest_seconds * (calls[-1].int & 0xFF) / 0xFF
        if token.startswith("fail") and len(calls) == 1:
            return web.Response(status=500)
        if "text" in body:
            await asyncio.sleep(seconds)
            return web.json_response({"label": word})
        usage = {"prompt_tokens": 7, "completion_tokens": 4}
        if body.get("stream") is not True:
            await asyncio.sleep(seconds)
            message = {"role": "assistant", "content": word}
            return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in range(PARTS):
            await response.write(b"data: " + json.dumps(chunk(word[8 * part :][:8])).encode() + b"\n\n")
            await asyncio.sleep(seconds / PARTS)
        await response.write(b"data: " + json.dumps(chunk(finish="stop", usage=usage)).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


@dataclass(slots=True)
class Try:
    """One idempotency key, and the request that is sent under it. `effects`: calls that should be charged."""

    random: Random
    kind: str
    token: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    effects: int = 1
    answer: Answer | None = None


def is_whole(one: Try, answer: Answer) -> bool:
    """Whether it came to its end, and all of it."""
    if one.kind != "stream":
        return True
    is_ended = answer.body.endswith(b"data: [DONE]\n\n") and b'"error"' not in answer.body
    return is_ended and answer.body.count(b'"content"') == PARTS
