"""One call, from a known caller and a parsed body to its settlement. Reads like the table in docs/architecture.md."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import psycopg_pool
from django.conf import settings

from apikeys.services import Use, touch_keys
from common.limiter import AsyncLimiter, Bucket, Decision
from common.limits import require
from common.logs import Lines
from common.outbound import Door, OutboundError, Reply
from common.problems import (
    MissingScope,
    Problem,
    RoleRequired,
    ServiceUnavailable,
)
from gateway import errors
from gateway.adapters import Usage
from gateway.adapters.echo import EchoDoor
from gateway.hotpath import deployments
from gateway.hotpath.batcher import Batcher, QueueFull
from gateway.hotpath.callers import Caller
from gateway.hotpath.deployments import Deployed
from gateway.hotpath.holds import beat, extend_hold
from gateway.hotpath.idempotency import IdempotencyKeys
from gateway.hotpath.money import Money
from gateway.hotpath.orm import run_in_django
from gateway.hotpath.predictions import Predictions
from gateway.hotpath.pressure import Pressure
from gateway.hotpath.resilience import Upstreams
from gateway.hotpath.rules import (
    Answer,
    Call,
    answer_headers,
    check_input,
    failure,
    hold_of,
    problem_of,
    read_output,
    settlement,
    usage_of,
)
from gateway.hotpath.snapshot import Listing, Snapshots
from gateway.hotpath.whats import Whats
from gateway.models import Rule
from gateway.services.budgets import refusal
from gateway.services.calls import Reserve, Settle
from gateway.services.echo import ECHO_ID, ECHO_SLUG
from gateway.services.policy import Outcome
from observability.services import waiting_requests, write_requests, write_requests_here

logger = logging.getLogger("gateway.call")

ECHO_DOOR = EchoDoor()
BEAT_SECONDS = 30
LOG_SECONDS = 0.25  # more rows at once would keep the calls that come meanwhile waiting
#: At the end of the process: for calls whose caller has left already, since the server has waited for all others; and
#: for what is settled when its upstream is cut off.
DRAIN_SECONDS, CUT_OFF_SECONDS = 3, 1.5
NOTE_SECONDS = 5  # how often `last_used` of the keys seen is written
MAX_USES = 20_000  # different ones between two writes
MAX_USER_AGENT = 400


class Gateway:
    """Everything that lives as long as the process and its event loop."""

    def __init__(self) -> None:
        self._pool = psycopg_pool.AsyncConnectionPool(
            settings.DATABASE_URL,
            min_size=0,
            max_size=4,
            max_waiting=1000,
            # Both are short, so that a call soon after an outage tries anew; the pool's own pauses grow to minutes.
            timeout=2,
            reconnect_timeout=1,
            kwargs={"autocommit": True, "connect_timeout": 3, "options": "-c statement_timeout=4000"},
            open=False,
        )
        self.pressure = Pressure(
            most_calls=settings.GATEWAY_CONCURRENT_CALLS, most_mib=settings.GATEWAY_BODY_MEMORY_MIB
        )
        self.snapshots = Snapshots(self._pool)
        self.money = Money(settings.DATABASE_URL)
        self._whats = Whats()
        self.idempotency = IdempotencyKeys(self._pool)
        self.door = Door()
        self.upstreams = Upstreams()
        self.predictions = Predictions(self)
        self._limiter = AsyncLimiter(settings.REDIS_URL, processes=settings.LIMITER_PROCESSES)
        self._limits: Batcher[Sequence[Bucket], list[Decision]] = Batcher(self._limiter.check_many)
        self._open: dict[str, Call] = {}  # by the id of their request
        self.drains = 0  # streams that are read on though their client has gone
        self._uses: dict[tuple[str, str, str], UUID] = {}  # key, address, client: the key's id; the latest last
        self._lines = Lines("gateway.call", "call")
        self._sweeps: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._pool.open(wait=False)
        await self.door.start()
        await self.predictions.start()
        write_requests_here(True)
        self._sweeps = [
            asyncio.create_task(self._repeat(BEAT_SECONDS, self._beat)),
            asyncio.create_task(self._repeat(NOTE_SECONDS, self._write_uses)),
            asyncio.create_task(self._repeat(LOG_SECONDS, self._write_requests)),
        ]

    async def close(self) -> None:
        """Let open calls end. Those that do not are cut off at their upstream, and settled for what was delivered."""
        self.pressure.refuse_more()
        await asyncio.gather(
            self._until_settled(DRAIN_SECONDS), self.predictions.close(time.monotonic() + DRAIN_SECONDS)
        )
        await self.door.close()
        await self._until_settled(CUT_OFF_SECONDS)
        for sweep in self._sweeps:
            sweep.cancel()
        with contextlib.suppress(ServiceUnavailable):
            await self._write_uses()
        await self._write_requests()
        write_requests_here(False)
        await self.money.close()
        await self._limiter.close()
        await self._pool.close()

    async def _until_settled(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    # --- The steps of a call ---

    async def check_rate(self, buckets: Sequence[Bucket]) -> list[Decision]:
        """Take one request from each bucket, all in one round trip. Raises RateLimited. Before anything is reserved."""
        try:
            decisions = await self._limits(buckets)
        except QueueFull:
            raise ServiceUnavailable("The gateway is busy beyond what it queues.", retry_after_seconds=1) from None
        require(decisions)
        return decisions

    async def find(self, name: UUID | str, caller: Caller) -> tuple[Listing, Deployed | None]:
        """What a name stands for: `publisher/slug` or an id a model, a word without a slash a deployment.

        Raises as `find_listing` does.
        """
        if type(name) is str and "/" not in name:
            return await deployments.find(self, name, caller)
        return await self.find_listing(name, caller), None

    @staticmethod
    def require_scope(caller: Caller) -> None:
        """Raises the problem of a caller who may call no model at all."""
        if "models:invoke" in caller.scopes:
            return
        if caller.api_key_id is None:
            raise RoleRequired("Your role in this organization does not cover calling models.")
        raise MissingScope("This key lacks the permission models:invoke.", required_scope="models:invoke")

    async def find_listing(self, name: UUID | str | tuple[UUID, UUID], caller: Caller) -> Listing:
        """The model of that id or slug, or of a version at a price, if the caller may see and call it. Raises the
        problem that says why not."""
        if name == (ECHO_SLUG if type(name) is str else ECHO_ID):
            name = ECHO_ID
            if caller.mode != "test":
                raise errors.ModelNotFound(f"{ECHO_SLUG} answers test keys alone.")
        if "models:invoke" not in caller.scopes:
            self.require_scope(caller)
        if isinstance(name, tuple):
            listing = await self.snapshots.pinned_listing(name)
        else:
            listings = self.snapshots.listing
            listing = listings.get(name) or await listings(name)
        if listing is None or not (listing.is_visible_to(caller.organization_id) or listing.id == ECHO_ID):
            raise errors.ModelNotFound()
        if caller.allowed_models and listing.id not in caller.allowed_models:
            raise errors.ModelNotAllowed()
        _ = listing.endpoint  # or it is not callable
        if caller.mode == "test" and not listing.test_enabled:
            raise errors.NotForTestKeys()
        if listing.price.amount_nano and caller.mode == "live" and listing.publisher_id != caller.organization_id:
            raise errors.SubscriptionRequired(fix_url=f"{settings.SITE_URL}/models/{listing.slug}")
        return listing

    def door_of(self, call: Call) -> Door | EchoDoor:
        """The way out to the call's upstream."""
        return ECHO_DOOR if call.listing.endpoint.protocol == "echo" else self.door

    async def answer(self, call: Call) -> Answer:
        """Reserve, ask the upstream, settle. Raises a Problem, and then nothing is charged."""
        try:
            return await self._answer(call)
        except Problem as problem:
            if call.deployment is None or (second := await deployments.instead_of(self, call, problem)) is None:
                raise
        return await self._answer(second)

    async def _answer(self, call: Call) -> Answer:
        check_input(call)
        await self.reserve(call)
        try:
            reply, output, usage, settle = await self.ask(call)
            cost = min(settle.cost_nano, call.hold_nano)
            answer = Answer(200, reply.body, answer_headers(call, cost), output, cost, usage)
            if call.claim is not None:  # before the settlement: what is charged can be repeated
                call.claim.headers = answer.headers
                await call.claim.keep(call.id, answer.body)
        except BaseException as error:  # cancelled and bugs of ours included: the hold goes back
            problem = problem_of(error)
            await self.let_go(call, problem)
            if isinstance(error, OutboundError):
                raise problem from None
            raise
        await self.settle(call, settle)
        return answer

    async def ask(self, call: Call) -> tuple[Reply, Any, Usage, Settle]:
        """Send a call that is reserved. Returns its good answer, what stands in it, and how to settle it.

        Raises a Problem or an OutboundError.
        """
        reply = await self.upstreams.ask(call, self.door_of(call))
        output = read_output(call, reply)
        usage = usage_of(call, output, len(reply.body))
        return reply, output, usage, settlement(call, usage)

    def reserve_of(self, call: Call) -> Reserve:
        """What is to be held for the call, and where. Raises ValidationFailed for what no budget could hold."""
        call.hold_nano = hold_of(call)
        return Reserve(call.id, self._whats(call), call.hold_nano)

    async def reserve(self, call: Call) -> None:
        """Make the hold durable, or raise the 402 that names the budget."""
        self.pressure.require_place(len(self._open))  # whichever way it came
        self.upstreams.require_closed(call)
        reserve = self.reserve_of(call)
        self._open[call.request_id] = call
        try:
            refused_by = await self.money.reserve(reserve)
        except asyncio.CancelledError:  # the hold may be on its way already; what takes it back leaves later
            await self.let_go(call, errors.GatewayStopped(), Outcome.NOT_SENT)
            raise
        except BaseException:  # a hold that was made all the same is an orphan
            del self._open[call.request_id]
            raise
        if refused_by is not None:
            del self._open[call.request_id]
            raise refusal(await self.snapshots.budget(refused_by), call.hold_nano)
        call.is_reserved = True
        if call.fallback_of is not None:
            await deployments.link(self._pool, call)

    async def extend(self, call: Call, hold_nano: int, held_tokens: int | None) -> None:
        """Raise the hold of a call under way, or raise the 402 that names the budget. Raises MoneyUnavailable."""
        refused_by = await extend_hold(self._pool, call.id, hold_nano)
        if refused_by is not None:
            raise refusal(await self.snapshots.budget(refused_by), hold_nano - call.hold_nano)
        call.hold_nano, call.held_tokens = hold_nano, held_tokens

    async def settle(self, call: Call, settle: Settle) -> None:
        """Durable when it returns. Raises MoneyUnavailable, and then the orphan rule ends the call, or has ended it.

        Goes on to its end when whoever waits for it is cancelled.
        """
        try:
            ending = self.money.settle(settle, partial(self._ended, call, settle))
        except errors.MoneyUnavailable as error:
            self._not_settled(call, settle)
            raise _withheld() from error
        try:
            was_open = await ending
        except errors.MoneyUnavailable:
            raise _withheld() from None
        if not was_open:  # its receipt says something else than this answer would
            raise _withheld()

    def _ended(self, call: Call, settle: Settle, was_open: bool | BaseException) -> None:
        if isinstance(was_open, BaseException):
            self._not_settled(call, settle)
            return
        self._open.pop(call.request_id, None)
        facts = _facts(call, settle)
        if not was_open and settle.rule is not Rule.NOT_SENT:
            # The orphan rule or a human was faster, or the call was never reserved: either way it must be looked at.
            logger.error("settle_without_started_call", extra=facts)
        self._lines.note(facts)

    def _not_settled(self, call: Call, settle: Settle) -> None:
        self._open.pop(call.request_id, None)
        tokens = {"input_tokens": settle.input_tokens, "output_tokens": settle.output_tokens}
        logger.error("call_not_settled", extra={**_facts(call, settle), **tokens, "cost_nano": settle.cost_nano})

    async def let_go(self, call: Call, problem: Problem, outcome: Outcome | None = None) -> None:
        """End a call that delivered nothing. Where that fails, the orphan rule does it later."""
        with contextlib.suppress(errors.MoneyUnavailable):
            await self.settle(call, failure(call, problem, outcome))

    # --- What a process does beside its calls ---

    def note_use(self, caller: Caller, address: str, user_agent: str) -> None:
        """Remember that the key was used, and by whom; written with the next sweep."""
        if caller.api_key_id is not None:
            use = (caller.public_key_id, address, user_agent[:MAX_USER_AGENT])
            self._uses.pop(use, None)
            if len(self._uses) < MAX_USES:
                self._uses[use] = caller.api_key_id

    async def _write_uses(self) -> None:
        if self._uses:
            uses, self._uses = self._uses, {}
            try:
                found = [Use(id, address, client) for (_, address, client), id in uses.items()]
                await run_in_django(touch_keys, found)
            except ServiceUnavailable:
                self._uses = {**uses, **self._uses}
                raise

    async def _write_requests(self) -> None:
        """The request log of this process, Django's requests included. While the database is away, they wait."""
        self._lines.write()
        if waiting_requests():
            with contextlib.suppress(ServiceUnavailable):
                await run_in_django(write_requests)

    async def _beat(self) -> None:
        """Renew the open calls, so that the orphan rule leaves them alone, and note what they have delivered."""
        now = time.monotonic()
        await beat(self._pool, [call for call in self._open.values() if now - call.began > BEAT_SECONDS / 2])

    @staticmethod
    async def _repeat(seconds: float, sweep: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await sweep()
            except Exception:
                logger.warning("sweep_failed", exc_info=True)  # the next one makes up for it


def _facts(call: Call, settle: Settle) -> dict[str, Any]:
    """The call's line in the log."""
    return {
        "request_id": call.request_id,
        "model": call.listing.slug,
        "kind": str(call.kind),
        "status": settle.http_status,
        "rule": settle.rule.value,
        "ms": settle.latency_ms,
        "key": call.caller.public_key_id,
    }


def _withheld() -> errors.MoneyUnavailable:
    detail = "The call could not be settled, so its answer is withheld. Its receipt will say how it ended."
    return errors.MoneyUnavailable(detail, retry_after_seconds=5)
