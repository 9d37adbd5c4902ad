"""Requests to web processes: one after the other (`Client`), or many at once (`burst`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.client import Answer, Client

__all__ = ["Answer", "Client", "Request", "burst", "send"]

SECONDS = 120


@dataclass(frozen=True, slots=True)
class Request:
    """`body` is sent as JSON, `raw` as it is."""

    method: str
    url: str
    body: Any = None
    credential: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


def burst(requests: Sequence[Request]) -> list[Answer]:
    """All of them at the same time, each on a connection of its own; the answers in the same order."""

    async def all_of_them() -> list[Answer]:
        async with open_session() as session:
            return list(await asyncio.gather(*(send(session, request) for request in requests)))

    return asyncio.run(all_of_them())


def open_session() -> aiohttp.ClientSession:
    """Each request on a connection of its own: one that is kept may be closed just when it is used again."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


async def send(session: aiohttp.ClientSession, request: Request) -> Answer:
    headers = {"Accept": "application/json", "User-Agent": "trust"}
    if request.credential is not None:
        headers["Authorization"] = f"Bearer {request.credential}"
    data = request.raw
    if request.body is not None:
        data = json.dumps(request.body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    headers |= request.headers
    async with session.request(
        request.method, request.url, data=data, headers=headers, allow_redirects=False
    ) as response:
        body = await response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body)
