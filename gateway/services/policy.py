"""The billing policy as one table: how a call ended, by which rule that is charged, and what.

`docs/billing-policy.md` repeats it for people. Whoever ends a call, the hot path, the sweep over orphans or a
prediction, asks `charge` once, and nothing else decides what a call costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gateway.adapters import Usage
from gateway.models import Rule
from marketplace.models import Price
from marketplace.services.pricing import cost_of


class Outcome(StrEnum):
    """How a call may end. One that delivered something is `ANSWERED` or `BROKEN_OFF`, whatever else happened."""

    ANSWERED = "answered"  # whole; also when its caller had left before its end
    BROKEN_OFF = "broken_off"  # by upstream, caller, limit or the end of the process, after something was delivered
    UPSTREAM_ERROR = "upstream_error"  # unreachable, an error status, a refusal of the input, a reset
    UPSTREAM_TIMEOUT = "upstream_timeout"  # of any kind: connecting, first byte, silence in between, all of it
    INVALID_OUTPUT = "invalid_output"  # also an empty answer, or a stream that ended before it began
    CANCELLED = "cancelled"  # its caller left or took it back, and nothing had been delivered
    NOT_SENT = "not_sent"
    STOPPED = "stopped"  # the process ended, or a bug of ours ended the call
    ORPHANED = "orphaned"  # nobody was left to settle it


class Facts(NamedTuple):
    """What a rule may depend on beside the outcome. `usage`: None when there is no evidence of any."""

    mode: str
    price: Price
    usage: Usage | None

    @property
    def source(self) -> str:
        return "" if self.usage is None else self.usage.source


class Charge(NamedTuple):
    """What a call costs, before its hold caps it, and by which rule. Quantities of what is not charged are 0."""

    rule: Rule
    cost_nano: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Line:
    """One rule. `is_rated`: the usage is charged at the frozen price, by call and by token; else nothing is.

    Of the lines that name an outcome, the first that `applies` counts.
    """

    rule: Rule
    when: str
    charged: str
    outcomes: frozenset[Outcome] = frozenset()
    applies: Callable[[Facts], bool] = lambda facts: True
    is_rated: bool = False


def _is_per_call(facts: Facts) -> bool:
    return facts.price.input_nano_per_million is None and facts.price.output_nano_per_million is None


DELIVERED = frozenset({Outcome.ANSWERED, Outcome.BROKEN_OFF})
ORPHAN = frozenset({Outcome.ORPHANED})
NO_USAGE = Usage(0, 0, "")
# fmt: off
POLICY: tuple[Line, ...] = (
    Line(Rule.TEST_MODE, "the key is in test mode", "nothing", DELIVERED | ORPHAN,
         lambda facts: facts.mode == "test" and facts.usage is not None),
    Line(Rule.FREE, "the model is free", "nothing", DELIVERED, lambda facts: facts.price.type == Price.Type.FREE),
    Line(Rule.PER_CALL, "something was delivered, and the model has a price per call and none per token",
         "the price of one call", DELIVERED, _is_per_call, is_rated=True),
    Line(Rule.USAGE_REPORTED, "something was delivered, and the upstream reported a usage that can be believed",
         "that usage, plus the price per call, if any", DELIVERED, lambda facts: facts.source == "reported",
         is_rated=True),
    Line(Rule.USAGE_COUNTED, "something was delivered, and no such usage was reported",
         "what was delivered, counted by the gateway, plus the price per call, if any", DELIVERED, is_rated=True),
    Line(Rule.UPSTREAM_ERROR, "the upstream failed, refused the input or could not be reached", "nothing",
         frozenset({Outcome.UPSTREAM_ERROR})),
    Line(Rule.UPSTREAM_TIMEOUT, "the upstream did not connect, begin, go on or end in time", "nothing",
         frozenset({Outcome.UPSTREAM_TIMEOUT})),
    Line(Rule.INVALID_OUTPUT, "the answer was empty or did not fit the model's schema", "nothing",
         frozenset({Outcome.INVALID_OUTPUT})),
    Line(Rule.CANCELLED, "the caller left, cancelled or reached a limit before anything was delivered", "nothing",
         frozenset({Outcome.CANCELLED})),
    Line(Rule.NOT_SENT, "the call ended before the upstream was contacted", "nothing", frozenset({Outcome.NOT_SENT})),
    Line(Rule.ORPHAN_CONFIRMED, "the gateway stopped during the call, and the publisher confirmed its usage",
         "the confirmed usage, plus the price per call, if any", ORPHAN, lambda facts: facts.source == "reported",
         is_rated=True),
    Line(Rule.ORPHAN_PROGRESS, "the gateway stopped during the call, and had noted what was delivered by then",
         "what was noted, plus the price per call, if any", ORPHAN, lambda facts: facts.source == "counted",
         is_rated=True),
    Line(Rule.ORPHAN_VOID, "the gateway stopped during the call and nothing proves delivery", "nothing",
         frozenset({Outcome.STOPPED, Outcome.ORPHANED})),
    Line(Rule.DEMO, "made-up usage of the demonstration", "nothing"),
)
# fmt: on
RATED = frozenset(line.rule for line in POLICY if line.is_rated)
#: Nothing was delivered, so that the same call may be made again.
UNDELIVERED = frozenset(
    line.rule for line in POLICY if line.outcomes and not line.is_rated and not line.outcomes & DELIVERED
)
_OF = {outcome: tuple(line for line in POLICY if outcome in line.outcomes) for outcome in Outcome}


def charge(outcome: Outcome, *, mode: str, price: Price, usage: Usage | None = None) -> Charge:
    """By which rule a call that ended so is charged, and what. price: the one that it was reserved at."""
    facts = Facts(mode, price, usage)
    for line in _OF[outcome]:
        if line.applies(facts):
            break
    else:
        raise AssertionError(f"no rule is for {outcome}")
    if outcome not in DELIVERED and not line.is_rated:
        return Charge(line.rule, 0, NO_USAGE)
    found = usage or NO_USAGE
    if not line.is_rated:
        return Charge(line.rule, 0, found)
    cost = cost_of(price, input_tokens=found.input_tokens, output_tokens=found.output_tokens)
    return Charge(line.rule, cost, found)


def policy_table() -> str:
    """The lines as they stand in `docs/billing-policy.md`."""
    rows = [f"| `{line.rule.value}` | {line.when} | {line.charged} |" for line in POLICY]
    return "\n".join(["| Rule | When | Charged |", "|---|---|---|", *rows])
