"""The words of a contract check: what is checked, and what each question found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from common.problems import FieldError
from gateway.models import Invocation
from gateway.services.endpoints import Target

NAMES = ("reach", "credential", "answer", "stream", "error", "limits", "parallel", "hang_up")
STREAMED_KINDS = (Invocation.Kind.CHAT, Invocation.Kind.COMPLETION, Invocation.Kind.MESSAGES)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked, and against what. faults_of: where an answer and its size in bytes do not fit the schema."""

    target: Target
    slug: str
    kind: str
    sample: Mapping[str, Any]
    faults_of: Callable[[Any, int], list[FieldError]]
    needs_usage: bool  # it is priced by the token, or its protocol always says

    @property
    def streams(self) -> bool:
        return self.kind in STREAMED_KINDS


@dataclass(frozen=True, slots=True)
class Step:
    """outcome: "passed", "failed", "open" (passed, with a word of warning) or "skipped".

    example: of a good answer, as `gateway.services.examples` keeps it.
    """

    name: str
    outcome: str
    code: str
    facts: dict[str, Any]
    milliseconds: int | None = None
    sent: str = ""
    received: str = ""
    example: dict[str, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        return asdict(self)


class Broken(Exception):
    """The endpoint does not keep the contract."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


@dataclass(slots=True)
class Found:
    """What a question that was answered well has shown. milliseconds: if not what the whole question took."""

    code: str
    facts: dict[str, Any] = field(default_factory=dict)
    outcome: str = "passed"
    milliseconds: int | None = None
    example: dict[str, Any] | None = None


def kind_of(protocol: str, input_schema: Mapping[str, Any]) -> str:
    """How a model of this protocol is called, by what its input has."""
    if protocol == "anthropic":
        return Invocation.Kind.MESSAGES
    if protocol != "openai":
        return Invocation.Kind.INVOKE
    known = input_schema.get("properties") or {}
    if "messages" in known:
        return Invocation.Kind.CHAT
    return Invocation.Kind.EMBEDDING if "input" in known else Invocation.Kind.COMPLETION
