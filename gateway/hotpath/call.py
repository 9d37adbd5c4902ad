"""One call, from a known caller and a parsed body to its settlement. Reads like the table in docs/architecture.md."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from uuid import UUID

import psycopg_pool
from asgiref.sync import sync_to_async
from django.conf import settings

from apikeys.services import touch_keys
from common.ids import encode, uuid7
from common.limiter import AsyncLimiter, Bucket, Decision
from common.money import amount
from common.outbound import Door, OutboundError, OutboundRefused, OutboundTimeout, Reply, Timeouts
from common.problems import Problem, RateLimited, ServiceUnavailable, ValidationFailed
from gateway import errors
from gateway.adapters import Usage, count_tokens, http_json, openai
from gateway.hotpath.batcher import Batcher
from gateway.hotpath.money import Money
from gateway.hotpath.snapshot import Caller, Listing, Snapshots
from gateway.models import Invocation, Rule
from gateway.services.budgets import refusal
from gateway.services.calls import Reserve, Settle, cost_of
from marketplace.services.schemas import validator_for, violations

logger = logging.getLogger("gateway.call")

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_UPSTREAM_MESSAGE = 500
DEFAULT_MAX_OUTPUT_TOKENS = 4096  # of a call that names no bound itself
BEAT_SECONDS = 30
NOTE_SECONDS = 5  # how often `last_used` of the keys seen is written

ADAPTERS: dict[str, ModuleType] = {"json": http_json, "openai": openai}


@dataclass(slots=True)
class Call:
    """One call under way."""

    caller: Caller
    listing: Listing
    kind: str
    body: dict[str, Any]
    size: int  # of the request body, in bytes
    is_streamed: bool = False
    id: UUID = field(default_factory=uuid7)
    began: float = field(default_factory=time.monotonic)
    hold_nano: int = 0
    first_token_ms: int | None = None

    @property
    def request_id(self) -> str:
        return encode("req", self.id)

    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.began) * 1000)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets, settled. `body` is the upstream's, byte for byte."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    output: Any
    cost_nano: int
    usage: Usage


class Gateway:
    """Everything that lives as long as the process and its event loop."""

    def __init__(self) -> None:
        self._pool = psycopg_pool.AsyncConnectionPool(
            settings.DATABASE_URL, min_size=0, max_size=4, open=False, timeout=5, kwargs={"autocommit": True}
        )
        self.snapshots = Snapshots(self._pool)
        self.money = Money(settings.DATABASE_URL)
        self.door = Door()
        self._limiter = AsyncLimiter(settings.REDIS_URL)
        self._limits: Batcher[Bucket, Decision] = Batcher(self._limiter.check_many)
        self._open: dict[UUID, float] = {}
        self._used_keys: set[UUID] = set()
        self._sweeps: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._pool.open(wait=False)
        await self.door.start()
        self._sweeps = [
            asyncio.create_task(self._repeat(BEAT_SECONDS, self._beat)),
            asyncio.create_task(self._repeat(NOTE_SECONDS, self._write_uses)),
        ]

    async def close(self, drain_seconds: float = 10) -> None:
        """Let open calls end, then hang up."""
        deadline = time.monotonic() + drain_seconds
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for sweep in self._sweeps:
            sweep.cancel()
        await self.door.close()
        await self.money.close()
        await self._limiter.close()
        await self._pool.close()

    # --- The steps of a call ---

    async def check_rate(self, caller: Caller) -> Decision:
        """Raises RateLimited. Before anything is reserved."""
        decision = await self._limits(Bucket(caller.rate_key, caller.rate_limit, name="key"))
        if not decision.allowed:
            raise RateLimited(headers=decision.headers(), retry_after_seconds=decision.retry_after_seconds)
        return decision

    async def find_listing(self, name: UUID | str, caller: Caller) -> Listing:
        """The model of that id or slug, if the caller may see and call it. Raises the problem that says why not."""
        listing = await self.snapshots.listing(name)
        if listing is None or not listing.is_visible_to(caller.organization_id):
            raise errors.ModelNotFound()
        if caller.allowed_models and listing.id not in caller.allowed_models:
            raise errors.ModelNotAllowed()
        _ = listing.endpoint  # or it is not callable
        if caller.mode == "test" and not listing.test_enabled:
            raise errors.NotForTestKeys()
        if listing.price.amount_nano and caller.mode == "live" and listing.publisher_id != caller.organization_id:
            raise errors.SubscriptionRequired(fix_url=f"{settings.SITE_URL}/models/{listing.slug}")
        return listing

    async def answer(self, call: Call) -> Answer:
        """Reserve, ask the upstream, settle. Raises a Problem, and then nothing is charged."""
        check_input(call)
        await self.reserve(call)
        settled = False
        try:
            reply = await self._ask(call)
            output = read_output(call, reply)
            usage = usage_of(call, output, len(reply.body))
            settle = self.settlement(call, usage, 200)
            settled = True
            await asyncio.shield(self.settle(call, settle))
        except Problem as problem:
            if not settled:
                await asyncio.shield(self.settle(call, self.failure(call, problem)))
            raise
        except BaseException:  # cancelled, or a bug of ours: the hold still goes back
            if not settled:
                await asyncio.shield(self.settle(call, self.failure(call, ServiceUnavailable())))
            raise
        cost = min(settle.cost_nano, call.hold_nano)
        return Answer(200, reply.body, answer_headers(call, cost), output, cost, usage)

    async def reserve(self, call: Call) -> None:
        """Make the hold durable, or raise the 402 that names the budget."""
        call.hold_nano = hold_of(call)
        caller, listing = call.caller, call.listing
        refused_by = await self.money.reserve(
            Reserve(
                id=call.id,
                organization_id=caller.organization_id,
                user_id=caller.user_id,
                api_key_id=caller.api_key_id,
                publisher_id=listing.publisher_id,
                ai_model_id=listing.id,
                version_id=listing.version_id,
                price_id=listing.price.id,
                kind=call.kind,
                mode=caller.mode,
                is_streamed=call.is_streamed,
                hold_nano=call.hold_nano,
                budget_ids=caller.budget_ids if call.hold_nano else (),
            )
        )
        if refused_by is not None:
            raise await refusal(refused_by, call.hold_nano)
        self._open[call.id] = call.began

    async def settle(self, call: Call, settle: Settle) -> None:
        """Durable when it returns. Raises MoneyUnavailable, and then the orphan rule ends the call."""
        try:
            await self.money.settle(settle)
        finally:
            self._open.pop(call.id, None)
        logger.info(
            "call",
            extra={
                "request_id": call.request_id,
                "model": call.listing.slug,
                "kind": call.kind,
                "status": settle.http_status,
                "rule": settle.rule.value,
                "ms": settle.latency_ms,
                "api_key_id": str(call.caller.api_key_id or ""),
            },
        )

    def settlement(self, call: Call, usage: Usage, status: int, error_code: str = "") -> Settle:
        """A delivered call, rated with the price it was reserved at."""
        price = call.listing.price
        cost = cost_of(price, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        if call.caller.mode == "test":
            rule, cost = Rule.TEST_MODE, 0
        elif cost == 0 and price.type == price.Type.FREE:
            rule = Rule.FREE
        elif price.input_nano_per_million is None and price.output_nano_per_million is None:
            rule = Rule.PER_CALL
        else:
            rule = Rule.USAGE_REPORTED if usage.source == "reported" else Rule.USAGE_COUNTED
        return Settle(
            id=call.id,
            rule=rule,
            cost_nano=cost,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            usage_source=usage.source,
            http_status=status,
            error_code=error_code,
            latency_ms=call.elapsed_ms(),
            first_token_ms=call.first_token_ms,
        )

    def failure(self, call: Call, problem: Problem) -> Settle:
        """A call that delivered nothing: the hold goes back."""
        rules = {
            errors.UpstreamTimeout.code: Rule.UPSTREAM_TIMEOUT,
            errors.UpstreamInvalidOutput.code: Rule.INVALID_OUTPUT,
            ServiceUnavailable.code: Rule.NOT_SENT,
        }
        return Settle(
            id=call.id,
            rule=rules.get(problem.code, Rule.UPSTREAM_ERROR),
            cost_nano=0,
            input_tokens=0,
            output_tokens=0,
            usage_source="",
            http_status=problem.status,
            error_code=problem.code,
            latency_ms=call.elapsed_ms(),
            first_token_ms=None,
        )

    # --- The upstream ---

    async def _ask(self, call: Call) -> Reply:
        url, headers, body = upstream_request(call)
        try:
            return await self.door.request(
                "POST", url, headers=headers, body=body, timeout=timeouts(call), max_bytes=MAX_ANSWER_BYTES
            )
        except OutboundError as error:
            raise upstream_problem(error) from None

    # --- What a process does beside its calls ---

    def note_use(self, caller: Caller) -> None:
        """Remember that the key was used; written with the next sweep."""
        if caller.api_key_id is not None:
            self._used_keys.add(caller.api_key_id)

    async def _write_uses(self) -> None:
        if self._used_keys:
            used, self._used_keys = self._used_keys, set()
            await sync_to_async(touch_keys)(used)

    async def _beat(self) -> None:
        """Renew the open calls, so that the orphan rule leaves them alone."""
        old = [id for id, began in self._open.items() if time.monotonic() - began > BEAT_SECONDS / 2]
        if old:
            async with self._pool.connection() as connection:
                await connection.execute("SELECT gateway_beat(%s::uuid[])", [old])

    @staticmethod
    async def _repeat(seconds: float, sweep: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await sweep()
            except Exception:
                logger.warning("sweep_failed", exc_info=True)  # the next one makes up for it


# --- Pure parts ---


def check_input(call: Call) -> None:
    """Raises ValidationFailed with every violation of the version's input schema."""
    validator = validator_for(call.listing.version_id, "input", call.listing.input_schema)
    if found := violations(validator, call.body):
        raise ValidationFailed("The input does not fit the model's schema.", errors=found)


def read_output(call: Call, reply: Reply) -> Any:
    """The parsed answer of a good reply. Raises the problem that a bad one stands for."""
    if reply.status != 200:
        raise status_problem(reply)
    try:
        output = json.loads(reply.body)
    except ValueError:
        raise errors.UpstreamInvalidOutput(
            "The publisher's endpoint answered with something other than JSON."
        ) from None
    if ADAPTERS[call.listing.endpoint.protocol].is_empty(output, call.kind):
        raise errors.UpstreamInvalidOutput("The publisher's endpoint answered with nothing.")
    validator = validator_for(call.listing.version_id, "output", call.listing.output_schema)
    if found := violations(validator, output):
        raise errors.UpstreamInvalidOutput(output_errors=found[:10])
    return output


def usage_of(call: Call, output: Any, answer_bytes: int) -> Usage:
    """What the upstream reported, else what can be counted from the bytes on both sides."""
    reported = ADAPTERS[call.listing.endpoint.protocol].usage(output)
    return reported or Usage(count_tokens(call.size), count_tokens(answer_bytes), "counted")


def hold_of(call: Call) -> int:
    """The most this call may cost, in nano-units: a token for every byte sent, and every token that may come back."""
    price, target = call.listing.price, call.listing.endpoint
    if call.caller.mode == "test":
        return 0
    bound = cost_of(price, input_tokens=call.size, output_tokens=max_output_tokens(call))
    return min(bound, target.max_cost_nano) if target.max_cost_nano is not None else bound


def max_output_tokens(call: Call) -> int:
    body = call.body
    if call.kind == "embedding":
        return 0
    bound = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = body.get("n")
    tokens = bound if type(bound) is int and bound > 0 else DEFAULT_MAX_OUTPUT_TOKENS
    return min(tokens, 10_000_000) * (min(choices, 128) if type(choices) is int and choices > 0 else 1)


def upstream_request(call: Call) -> tuple[str, dict[str, str], bytes]:
    """Address, headers and body of the request to the publisher's endpoint, signed with the endpoint's key.

    Signature: `t=<unix seconds>,v1=<hex HMAC-SHA-256 of "<t>.<request id>.<body>">`.
    """
    target = call.listing.endpoint
    adapter = ADAPTERS[target.protocol]
    sent = adapter.request(
        call.body, upstream_model=target.upstream_model or call.listing.slug, stream=call.is_streamed
    )
    body = json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode()
    at = int(time.time())
    signed = b"%d.%b.%b" % (at, call.request_id.encode(), body)
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if call.is_streamed else "application/json",
        "User-Agent": f"Agorai/{settings.VERSION}",
        "X-Agorai-Request-Id": call.request_id,
        "X-Agorai-Signature": f"t={at},v1={hmac.new(target.signing_key, signed, hashlib.sha256).hexdigest()}",
    }
    if target.secret is not None:
        is_bearer = target.auth_header.lower() == "authorization" and " " not in target.secret
        headers[target.auth_header] = f"Bearer {target.secret}" if is_bearer else target.secret
    return adapter.url(target.url, call.kind), headers, body


def timeouts(call: Call) -> Timeouts:
    """The publisher's time, within the operator's."""
    limit = min(call.listing.endpoint.timeout_seconds, settings.GATEWAY_UPSTREAM_TIMEOUT_SECONDS)
    return Timeouts(first_byte=limit, idle=min(30, limit), total=600 if call.is_streamed else limit)


def upstream_problem(error: OutboundError) -> Problem:
    match error:
        case OutboundTimeout():
            return errors.UpstreamTimeout(str(error))
        case OutboundRefused():
            return errors.UpstreamFailed("The model's endpoint is at an address that calls are not sent to.")
        case _:
            return errors.UpstreamFailed(str(error))


def status_problem(reply: Reply) -> Problem:
    """400 and 422 are about the input and are passed on in words; everything else is the publisher's own trouble."""
    if reply.status in (400, 413, 422):
        return errors.UpstreamRejected(upstream_message=upstream_message(reply.body))
    if reply.status in (429, 503):
        wait = reply.headers.get("retry-after", "")
        return errors.UpstreamBusy(retry_after_seconds=min(int(wait), 600) if wait.isdigit() else 5)
    return errors.UpstreamFailed(f"The publisher's endpoint answered with status {reply.status}.")


def upstream_message(body: bytes) -> str:
    """The upstream's own words, as plain text and not too many."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    for name in ("error", "detail", "message"):
        value = found.get(name) if isinstance(found, dict) else None
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str):
            return "".join(c if c.isprintable() else " " for c in value)[:MAX_UPSTREAM_MESSAGE]
    return ""


def answer_headers(call: Call, cost_nano: int) -> dict[str, str]:
    return {"x-model-version": call.listing.version, "x-cost-usd": amount(cost_nano)} | (
        {} if settings.CURRENCY == "USD" else {"x-cost-currency": settings.CURRENCY}
    )


def kind_of(listing: Listing, body: Mapping[str, Any]) -> str:
    """What a call by `invoke` is, which has one address for every kind."""
    if listing.endpoint.protocol != "openai":
        return Invocation.Kind.INVOKE
    if "messages" in body:
        return Invocation.Kind.CHAT
    return Invocation.Kind.EMBEDDING if "input" in body else Invocation.Kind.COMPLETION


#: The addresses that have a kind of their own.
KINDS = {
    "/v1/chat/completions": Invocation.Kind.CHAT,
    "/v1/completions": Invocation.Kind.COMPLETION,
    "/v1/embeddings": Invocation.Kind.EMBEDDING,
}
