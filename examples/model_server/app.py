"""The ASGI app: paths, bodies, answers, streams, one log line for each request. Nothing is kept between requests."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from examples.model_server import chat, embeddings, language, sentiment, tokens
from examples.model_server.errors import Refused, invalid

MAX_BODY_BYTES = 1 << 20
MAX_TEXT_CHARACTERS = 20_000
MAX_INPUTS, MAX_INPUT_CHARACTERS = 256, 200_000  # of one request for embeddings
LONG_CHARACTERS = 1_000  # beyond this a text is worked on in a thread, so that others are not kept waiting
EMBEDDING_MODEL = "embed"
MODELS = (chat.MODEL, EMBEDDING_MODEL)
MODELS_SINCE = 1_735_689_600  # 2025-01-01

T = TypeVar("T")
Handler = Callable[["Call"], Awaitable[None]]


class ClientGone(Exception):
    """The caller closed the connection before the answer was complete."""


@dataclass(slots=True)
class Call:
    """One request and what has been sent for it."""

    scope: dict[str, Any]
    receive: Callable[[], Awaitable[dict[str, Any]]]
    send: Callable[[dict[str, Any]], Awaitable[None]]
    status: int = 0
    sent_bytes: int = 0
    note: str = ""

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    def header(self, name: str) -> str:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted), "")

    async def read_json(self) -> dict[str, Any]:
        """The body, an object. Raises Refused and ClientGone."""
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                limit = f"{MAX_BODY_BYTES:,}"
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", f"The body exceeds {limit} bytes.")
            if not message.get("more_body"):
                return _parse(bytes(body))

    async def wait_until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        self.status = status
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        self.sent_bytes += len(body)
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, value: object, status: int = HTTPStatus.OK, headers: Iterable[tuple[str, str]] = ()) -> None:
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        length = ("content-length", str(len(body)))
        await self.start(status, [("content-type", "application/json"), length, *headers])
        await self.write(body)


class App:
    """`secret`: if not empty, what every caller must send as a bearer token. `pace_seconds`: pause between chunks."""

    def __init__(self, *, secret: str = "", pace_seconds: float = 0.01) -> None:
        self._secret, self._pace_seconds = secret.encode(), pace_seconds
        self._routes: dict[str, tuple[str, Handler]] = {
            "/health": ("GET", self._health),
            "/sentiment": ("POST", self._sentiment),
            "/language": ("POST", self._language),
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/embeddings": ("POST", self._embeddings),
        }
        self._routes |= {f"/v1/models/{name}": ("GET", self._model) for name in MODELS}

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        call, started = Call(scope, receive, send), time.perf_counter()
        try:
            await self._handle(call)
        except Refused as refusal:
            call.note = refusal.code
            headers = [("www-authenticate", "Bearer")] if refusal.status == HTTPStatus.UNAUTHORIZED else []
            if refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                headers += [("connection", "close")]  # the rest of the body is not wanted
            await call.answer(refusal.body(), refusal.status, headers)
        except ClientGone:
            call.note = "client_gone"
        except Exception:  # a bug: the caller gets an answer, the log the trace
            traceback.print_exc()
            call.note = "server_error"
            if not call.status:
                failure = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error", "The model failed on this input.")
                await call.answer(failure.body(), failure.status)
        finally:
            _log(call, time.perf_counter() - started)

    async def _handle(self, call: Call) -> None:
        if call.path not in self._routes:
            if call.path.startswith("/v1/models/"):
                raise Refused(HTTPStatus.NOT_FOUND, "model_not_found", "There is no such model.", param="model")
            raise Refused(HTTPStatus.NOT_FOUND, "not_found", f"Known paths: {', '.join(self._routes)}.")
        method, handler = self._routes[call.path]
        if call.scope["method"] not in ((method, "HEAD") if method == "GET" else (method,)):
            message = f"{call.path} answers {method} only."
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", message)
        if self._secret and call.path != "/health":
            scheme, _, token = call.header("authorization").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode("latin-1"), self._secret):
                message = "Send the secret of this endpoint as Authorization: Bearer."
                raise Refused(HTTPStatus.UNAUTHORIZED, "invalid_api_key", message)
        await handler(call)

    async def _health(self, call: Call) -> None:
        await call.answer({"status": "ok"})

    async def _sentiment(self, call: Call) -> None:
        text = _read_text(await call.read_json())
        await call.answer(await _work(sentiment.analyze, text, is_long=len(text) > LONG_CHARACTERS))

    async def _language(self, call: Call) -> None:
        text = _read_text(await call.read_json())
        is_long = len(text) > LONG_CHARACTERS or not language.is_loaded()
        await call.answer(await _work(language.identify, text, is_long=is_long))

    async def _models(self, call: Call) -> None:
        await call.answer({"object": "list", "data": [_model_object(name) for name in MODELS]})

    async def _model(self, call: Call) -> None:
        await call.answer(_model_object(call.path.rpartition("/")[2]))

    async def _chat(self, call: Call) -> None:
        request = chat.read_request(await call.read_json())
        is_long = sum(map(len, request.contents)) > LONG_CHARACTERS
        completion = await _work(chat.complete, request, is_long=is_long)
        if request.stream:
            await self._stream(call, completion.chunks(include_usage=request.include_usage))
        else:
            await call.answer(completion.body())

    async def _stream(self, call: Call, chunks: Iterable[dict[str, object]]) -> None:
        """Server-sent events at the pace of a model that thinks; ends at once when the caller goes."""
        gone = asyncio.ensure_future(call.wait_until_gone())
        try:
            await call.start(HTTPStatus.OK, [("content-type", "text/event-stream"), ("cache-control", "no-cache")])
            for chunk in chunks:
                data = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
                await call.write(f"data: {data}\n\n".encode(), more=True)
                await asyncio.wait({gone}, timeout=self._pace_seconds)
                if gone.done():
                    raise ClientGone
            await call.write(b"data: [DONE]\n\n")
        finally:
            gone.cancel()

    async def _embeddings(self, call: Call) -> None:
        body = await call.read_json()
        model, texts = chat.read_model(body), _read_inputs(body)
        dimensions = body.get("dimensions")
        dimensions = embeddings.DEFAULT_DIMENSIONS if dimensions is None else dimensions
        if type(dimensions) is not int or not 1 <= dimensions <= embeddings.MAX_DIMENSIONS:
            raise invalid("dimensions", f"dimensions must be a whole number from 1 to {embeddings.MAX_DIMENSIONS}.")
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise invalid("encoding_format", "encoding_format must be float or base64.")

        def embed() -> dict[str, object]:
            data = []
            for index, text in enumerate(texts):
                vector = embeddings.embed(text, dimensions)
                shown = embeddings.to_base64(vector) if encoding == "base64" else vector.tolist()
                data.append({"object": "embedding", "index": index, "embedding": shown})
            count = sum(map(tokens.count, texts))
            usage = {"prompt_tokens": count, "total_tokens": count}
            return {"object": "list", "data": data, "model": model, "usage": usage}

        await call.answer(await _work(embed, is_long=sum(map(len, texts)) > LONG_CHARACTERS))


async def _work(function: Callable[..., T], *arguments: object, is_long: bool) -> T:
    return await asyncio.to_thread(function, *arguments) if is_long else function(*arguments)


def _model_object(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": MODELS_SINCE, "owned_by": "agorai-examples"}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate passes the parser, but is no text
    except (ValueError, RecursionError):
        message = "The body must be one JSON object in UTF-8, without NaN or lone surrogates, not nested too deep."
        raise Refused(HTTPStatus.BAD_REQUEST, "invalid_json", message) from None
    if not isinstance(value, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "invalid_json", "The body must be a JSON object.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_text(body: dict[str, Any]) -> str:
    """The only field of the plain models."""
    for name in body.keys() - {"text"}:
        raise invalid(name, f"{name} is unknown; the input is text alone.", code="unknown_field", status=422)
    text = body.get("text")
    if not isinstance(text, str):
        raise invalid("text", "text must be a string.", status=422)
    if len(text) > MAX_TEXT_CHARACTERS:
        raise invalid("text", f"text must have at most {MAX_TEXT_CHARACTERS:,} characters.", status=422)
    return text


def _read_inputs(body: dict[str, Any]) -> list[str]:
    value = body.get("input")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_INPUTS or not all(isinstance(t, str) for t in texts):
        raise invalid("input", f"input must be a string or a list of 1 to {MAX_INPUTS} strings.")
    if not all(texts):
        raise invalid("input", "input must not be empty.")
    if sum(map(len, texts)) > MAX_INPUT_CHARACTERS:
        raise invalid("input", f"input must have at most {MAX_INPUT_CHARACTERS:,} characters in all.")
    return texts


def _log(call: Call, seconds: float) -> None:
    """One line; what the caller chose is made harmless first."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    path = call.scope.get("raw_path", b"").decode("latin-1")[:200]
    request_id = call.header("x-agorai-request-id")[:80]
    safe_path, safe_id = (re.sub(r"[^!-~]", "?", text) or "-" for text in (path, request_id))
    figures = f"{call.status or '-'} {seconds * 1000:.1f}ms {call.sent_bytes}B"
    print(
        now,
        call.scope["method"],
        safe_path,
        figures,
        f"request={safe_id}",
        call.note or "ok",
        file=sys.stdout,
        flush=True,
    )
