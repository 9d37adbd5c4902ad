"""What follows from a call without asking anybody: its hold, its request, what an answer means, how it is settled."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings

from common.ids import encode, uuid7
from common.logs import HIDDEN, mask
from common.money import amount, display
from common.outbound import (
    OutboundClosed,
    OutboundError,
    OutboundRefused,
    OutboundTimeout,
    OutboundWrongType,
    Reply,
    Timeouts,
)
from common.problems import (
    InternalError,
    Problem,
    ServiceUnavailable,
    ValidationFailed,
)
from gateway import errors
from gateway.adapters import Usage, anthropic, count_tokens, echo, http_json, openai
from gateway.hotpath.callers import Caller
from gateway.hotpath.snapshot import Listing
from gateway.models import Invocation
from gateway.services.calls import Settle
from gateway.services.policy import Outcome, charge
from marketplace.models import Price
from marketplace.services.pricing import cost_of
from observability.errors import IdempotentRequestRunning

if TYPE_CHECKING:
    from common.outbound import Door, Route
    from gateway.adapters.echo import EchoDoor, EchoRoute
    from gateway.hotpath.deployments import Deployed
    from gateway.hotpath.idempotency import Claim
    from gateway.services.predictions import Asked

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_UPSTREAM_MESSAGE = 500
MAX_ERROR_BYTES = 64 * 1024  # of an upstream's error, to be read for its message
DEFAULT_MAX_OUTPUT_TOKENS = 4096  # of a call that names no bound itself
STEP_TOKENS = 2000  # of output, by which the hold of a stream without a bound grows
PART_TOKENS = 4096  # of an image, a sound or a file in a message, which may be but an address
MAX_ANSWERS = 128  # that one call may ask for
MAX_HOLD_NANO = 10**15  # a million: far below where sums of holds would no longer fit a column

ADAPTERS: dict[str, ModuleType] = {"json": http_json, "openai": openai, "anthropic": anthropic, "echo": echo}


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
    held_tokens: int | None = None  # of the output, where the hold grows with it; None: all that may come
    delivered_bytes: int = 0  # of generated text
    first_token_ms: int | None = None
    claim: Claim | None = None  # on the idempotency key that it was sent under
    asked: Asked | None = None  # of a prediction, which waits in line
    most_seconds: float | None = None  # of one that is made, instead of what the operator gives any other call
    deployment: Deployed | None = None  # by whose name it was made
    fallback_of: UUID | None = None  # the call that failed before it
    is_reserved: bool = False
    passed_headers: Mapping[str, str] = field(default_factory=dict)  # of the caller's, those that the protocol takes
    request_id: str = ""  # the id as it is shown

    def __post_init__(self) -> None:
        if not self.request_id:
            self.request_id = encode("req", self.id)

    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.began) * 1000)


class Answer(NamedTuple):
    """What the caller gets, settled. `body` is the upstream's, byte for byte."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    output: Any
    cost_nano: int
    usage: Usage


def check_input(call: Call) -> None:
    """Raises ValidationFailed with every violation of the version's input schema."""
    if call.kind == Invocation.Kind.MESSAGES and (found := anthropic.faults(call.body)):
        raise ValidationFailed(errors=found)
    if found := call.listing.input.violations(call.body, call.size):
        raise ValidationFailed("The input does not fit the model's schema.", errors=found)


def read_output(call: Call, reply: Reply) -> Any:
    """The parsed answer of a good reply. Raises the problem that a bad one stands for."""
    if reply.status != 200:
        raise status_problem(reply, call.listing.endpoint.secret)
    try:
        output = msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):  # a number that is none, half a character, brackets without end
        raise errors.UpstreamInvalidOutput(
            "The publisher's endpoint answered with something other than JSON."
        ) from None
    if ADAPTERS[call.listing.endpoint.protocol].is_empty(output, call.kind):
        raise errors.UpstreamInvalidOutput("The publisher's endpoint answered with nothing.")
    if found := call.listing.output.violations(output, len(reply.body)):
        raise errors.UpstreamInvalidOutput(output_errors=found[:10])
    return output


def usage_of(call: Call, output: Any, answer_bytes: int) -> Usage:
    """What the upstream reported, else what can be counted from the bytes on both sides."""
    reported = ADAPTERS[call.listing.endpoint.protocol].usage(output)
    return reported or Usage(count_tokens(call.size), count_tokens(answer_bytes), "counted")


def problem_of(error: BaseException) -> Problem:
    """What the caller is told about a call that ended with `error`."""
    match error:
        case Problem():
            return error
        case OutboundTimeout():
            return errors.UpstreamTimeout(str(error))
        case OutboundRefused():
            return errors.UpstreamFailed("The model's endpoint is at an address that calls are not sent to.")
        case OutboundWrongType():
            return errors.UpstreamInvalidOutput(str(error))
        case OutboundClosed() | asyncio.CancelledError():  # which is how requests end that outlast the process
            return errors.GatewayStopped()
        case OutboundError():
            return errors.UpstreamFailed(str(error))
        case _:
            return InternalError()


#: How a call ended that delivered nothing; by an error of the upstream, if not as these.
OUTCOMES = {
    errors.UpstreamTimeout.code: Outcome.UPSTREAM_TIMEOUT,
    errors.UpstreamInvalidOutput.code: Outcome.INVALID_OUTPUT,
    errors.ClientLeft.code: Outcome.CANCELLED,
    errors.PredictionCanceled.code: Outcome.CANCELLED,
    errors.PredictionLate.code: Outcome.UPSTREAM_TIMEOUT,
    errors.InsufficientCredit.code: Outcome.CANCELLED,
    errors.SpendLimitReached.code: Outcome.CANCELLED,
    errors.MoneyUnavailable.code: Outcome.STOPPED,
    errors.GatewayStopped.code: Outcome.STOPPED,
    IdempotentRequestRunning.code: Outcome.STOPPED,
    ServiceUnavailable.code: Outcome.STOPPED,
    InternalError.code: Outcome.STOPPED,
}


def settlement(call: Call, usage: Usage, problem: Problem | None = None) -> Settle:
    """A call that delivered something, rated with the price it was reserved at. `problem`: what broke it off."""
    return _ended(call, Outcome.ANSWERED if problem is None else Outcome.BROKEN_OFF, usage, problem)


def failure(call: Call, problem: Problem, outcome: Outcome | None = None) -> Settle:
    """The end of a call that delivered nothing: the hold goes back. `outcome`: other than the problem's own."""
    return _ended(call, outcome or OUTCOMES.get(problem.code, Outcome.UPSTREAM_ERROR), None, problem)


def _ended(call: Call, outcome: Outcome, usage: Usage | None, problem: Problem | None) -> Settle:
    charged = charge(outcome, mode=call.caller.mode, price=call.listing.price, usage=usage)
    return Settle(
        id=call.id,
        rule=charged.rule,
        cost_nano=charged.cost_nano,
        input_tokens=charged.usage.input_tokens,
        output_tokens=charged.usage.output_tokens,
        usage_source=charged.usage.source,
        http_status=200 if problem is None else problem.status,
        error_code="" if problem is None else problem.code,
        latency_ms=call.elapsed_ms(),
        first_token_ms=call.first_token_ms,
    )


def hold_of(call: Call) -> int:
    """The most this call may cost, in nano-units; of a stream without a bound, the most of its first step.

    Raises ValidationFailed when no budget could ever hold it.
    """
    if call.caller.mode == "test":
        return 0
    if call.is_streamed and call.listing.price.output_nano_per_million and not _bound(call.body):
        call.held_tokens = 0
        hold, call.held_tokens = next_hold(call)
        return hold
    return most_of(call.listing.price, call.listing.endpoint.max_cost_nano, call.kind, call.body, call.size)


def next_hold(call: Call) -> tuple[int, int | None]:
    """The hold with another step, and the tokens of output that it covers; None: all, since no more is charged."""
    endpoint = call.listing.endpoint
    tokens = (call.held_tokens or 0) + STEP_TOKENS
    given = max_input_tokens(call.kind, call.body, call.size)
    bound = cost_of(call.listing.price, input_tokens=given, output_tokens=tokens)
    most = min(endpoint.max_cost_nano or MAX_HOLD_NANO, MAX_HOLD_NANO)
    return (bound, tokens) if bound < most else (most, None)


def most_of(price: Price, max_cost_nano: int | None, kind: str, body: Mapping[str, Any], size: int) -> int:
    """The most that a call with this body of `size` bytes may cost. Raises ValidationFailed as `hold_of` does."""
    tokens = max_input_tokens(kind, body, size)
    bound = cost_of(price, input_tokens=tokens, output_tokens=max_output_tokens(kind, body))
    if max_cost_nano is not None:
        bound = min(bound, max_cost_nano)
    if bound > MAX_HOLD_NANO:
        most = display(MAX_HOLD_NANO, settings.CURRENCY)
        detail = f"At this model's price the call could cost more than {most}, the most that one call may."
        raise ValidationFailed(errors=[{"pointer": "/max_tokens", "code": "cost_out_of_range", "detail": detail}])
    return bound


def max_input_tokens(kind: str, body: Mapping[str, Any], size: int) -> int:
    """A token for every byte sent, and what the parts of messages that are no text may come to."""
    messages = body.get("messages") if kind in (Invocation.Kind.CHAT, Invocation.Kind.MESSAGES) else None
    parts = 0
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            parts += sum(isinstance(part, dict) and part.get("type") != "text" for part in content)
    return size + parts * PART_TOKENS


def max_output_tokens(kind: str, body: Mapping[str, Any]) -> int:
    """Every token that may come back: of each answer asked for, to each prompt."""
    if kind == Invocation.Kind.EMBEDDING:
        return 0
    tokens = _bound(body) or DEFAULT_MAX_OUTPUT_TOKENS
    answers = _largest(body, "n", "best_of") or 1
    prompt = body.get("prompt") if kind == Invocation.Kind.COMPLETION else None
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return min(tokens, 10_000_000) * min(answers, MAX_ANSWERS) * prompts


def _bound(body: Mapping[str, Any]) -> int:
    """What the request says of the length of an answer, 0: nothing; either may be what the upstream goes by."""
    return _largest(body, "max_tokens", "max_completion_tokens")


def _largest(body: Mapping[str, Any], *names: str) -> int:
    """Of the whole numbers above 0 under these names; 0: there is none."""
    largest = 0
    for name in names:
        found = body.get(name)
        if type(found) is int and found > largest:
            largest = found
    return largest


def upstream_request(call: Call, door: Door | EchoDoor) -> tuple[Route | EchoRoute, dict[str, str], bytes]:
    """The way to the publisher's endpoint, and of this request the headers and the body, signed with the endpoint's
    key.

    Signature: `t=<unix seconds>,v1=<hex HMAC-SHA-256 of "<t>.<request id>.<body>">`.
    """
    target = call.listing.endpoint
    sent = ADAPTERS[target.protocol].request(
        call.body, upstream_model=target.upstream_model or call.listing.slug, stream=call.is_streamed
    )
    body = msgspec.json.encode(sent)
    at = int(time.time())
    signed = b"%d.%b.%b" % (at, call.request_id.encode(), body)
    headers = {
        "X-Agorai-Request-Id": call.request_id,
        "X-Agorai-Signature": f"t={at},v1={hmac.digest(target.signing_key, signed, 'sha256').hex()}",
    }
    if target.protocol == "anthropic":
        headers |= anthropic.headers(call.passed_headers)
    known: Route | EchoRoute | None = target.prepared.get((door, call.kind, call.is_streamed))
    return known or _route(call, door), headers, body


def _route(call: Call, door: Door | EchoDoor) -> Route | EchoRoute:
    """Address and headers that all such calls of an endpoint have in common."""
    target = call.listing.endpoint
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if call.is_streamed else "application/json",
        "User-Agent": f"Agorai/{settings.VERSION}",
    }
    if target.secret is not None:
        is_bearer = target.auth_header.lower() == "authorization" and " " not in target.secret
        headers[target.auth_header] = f"Bearer {target.secret}" if is_bearer else target.secret
    url = ADAPTERS[target.protocol].url(target.url, call.kind)
    route = target.prepared[door, call.kind, call.is_streamed] = door.route("POST", url, headers)
    return route


def timeouts(call: Call) -> Timeouts:
    """The publisher's time, within the operator's."""
    limit = min(call.listing.endpoint.timeout_seconds, call.most_seconds or settings.GATEWAY_UPSTREAM_TIMEOUT_SECONDS)
    return _timeouts(limit, call.is_streamed)


@lru_cache(1024)
def _timeouts(limit: float, is_streamed: bool) -> Timeouts:
    return Timeouts(first_byte=limit, idle=limit, total=600 if is_streamed else limit)


def status_problem(reply: Reply, secret: str | None) -> Problem:
    """400 and 422 are about the input and are passed on in words; everything else is the publisher's own trouble.

    secret: of the endpoint, which some of them repeat in their errors.
    """
    if reply.status in (400, 413, 422):
        return errors.UpstreamRejected(upstream_message=upstream_message(reply.body, secret))
    if reply.status in (429, 503):
        wait = re.fullmatch("[0-9]{1,9}", reply.headers.get("retry-after", ""))
        return errors.UpstreamBusy(retry_after_seconds=min(int(wait[0]), 600) if wait else 5)
    return errors.UpstreamFailed(f"The publisher's endpoint answered with status {reply.status}.")


def upstream_message(body: bytes, secret: str | None) -> str:
    """The upstream's own words, as plain text, without secrets and not too many."""
    try:
        found = msgspec.json.decode(body[:MAX_ERROR_BYTES])
    except (ValueError, RecursionError):
        return ""
    for name in ("error", "detail", "message"):
        value = found.get(name) if isinstance(found, dict) else None
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str):
            shown = mask(value.replace(secret, HIDDEN) if secret else value)
            return "".join(c if c.isprintable() else " " for c in shown)[:MAX_UPSTREAM_MESSAGE]
    return ""


def answer_headers(call: Call, cost_nano: int) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "x-model": call.listing.slug,
        "x-model-version": call.listing.version,
        "x-cost-usd": amount(cost_nano),
    }
    if (currency := settings.CURRENCY) != "USD":
        headers["x-cost-currency"] = currency
    return headers


def kind_of(listing: Listing, body: Mapping[str, Any]) -> str:
    """What a call by `invoke` is, which has one address for every kind."""
    if listing.endpoint.protocol == "json":
        return Invocation.Kind.INVOKE
    if listing.endpoint.protocol == "anthropic":
        return Invocation.Kind.MESSAGES
    if "messages" in body:
        return Invocation.Kind.CHAT
    if listing.endpoint.protocol == "echo":
        return Invocation.Kind.INVOKE
    return Invocation.Kind.EMBEDDING if "input" in body else Invocation.Kind.COMPLETION


#: The addresses that have a kind of their own.
KINDS = {
    "/v1/chat/completions": Invocation.Kind.CHAT,
    "/v1/completions": Invocation.Kind.COMPLETION,
    "/v1/embeddings": Invocation.Kind.EMBEDDING,
    "/v1/messages": Invocation.Kind.MESSAGES,
}
STREAMED_KINDS = frozenset({Invocation.Kind.CHAT, Invocation.Kind.COMPLETION, Invocation.Kind.MESSAGES})
