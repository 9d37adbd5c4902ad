"""How upstreams are spoken to: one module per protocol, the same four functions in each."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from common.problems import Problem


class Usage(NamedTuple):
    """Token counts of one call, both >= 0. `source`: "reported" by the upstream or "counted" here."""

    input_tokens: int
    output_tokens: int
    source: str = "reported"


class Upstream(Protocol):
    """One protocol. Bodies are parsed JSON; nothing here opens a connection."""

    def url(self, base: str, kind: str) -> str:
        """Where a call of this kind goes, below the endpoint's URL."""

    def request(self, body: dict[str, Any], *, upstream_model: str, stream: bool) -> dict[str, Any]:
        """The body as the upstream wants it."""

    def usage(self, answer: Any) -> Usage | None:
        """What the upstream reported; None when it reported nothing that can be believed."""

    def is_empty(self, answer: Any, kind: str) -> bool:
        """Whether the answer delivers nothing, and so costs nothing."""


class StreamReader(Protocol):
    """The events of one streamed answer: `read` each, then `ending` once the call is settled, or `broken`.

    `usage`: as reported so far. `is_over`: the answer is complete, whatever the upstream says after it. `has_ending`:
    something is held back that `ending` will give.
    """

    usage: Usage | None
    is_over: bool

    @property
    def has_ending(self) -> bool: ...

    def read(self, data: bytes) -> tuple[bytes, int]:
        """What to pass on now for an event's data, and how many bytes of it were generated.

        Raises OutboundBadAnswer for what is no event of the protocol, UpstreamFailed for one that reports an error.
        """

    def ending(self, usage: Usage, cost: Decimal) -> bytes:
        """What closes the answer: what was held back, with what the call is billed."""

    @staticmethod
    def broken(problem: Problem, request_id: str) -> bytes:
        """What ends an answer that broke off."""


def reported(usage: Any, input_names: tuple[str, ...], output_names: tuple[str, ...]) -> Usage | None:
    """A usage object read under any of the usual names. Negative, absurd or missing counts are not believed."""
    if not isinstance(usage, dict):
        return None
    counts, is_there = [0, 0], False
    for place, names in enumerate((input_names, output_names)):
        for name in names:
            if name in usage:
                is_there = True
                if (found := usage[name]) is not None:
                    if type(found) is not int or not 0 <= found <= MAX_TOKENS:
                        return None
                    counts[place] = found
                    break
    return Usage(counts[0], counts[1]) if is_there else None


#: More tokens than any one call can have; a report above it is a mistake.
MAX_TOKENS = 100_000_000


def count_tokens(text_bytes: int) -> int:
    """Tokens of a text nobody counted for us: one per four bytes, rounded up."""
    return -(-text_bytes // 4)
