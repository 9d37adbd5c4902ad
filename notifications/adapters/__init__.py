"""How a message leaves the house: one adapter for each channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an adapter needs of a message."""

    id: UUID
    kind: str
    to: str
    language: str
    payload: Mapping[str, Any]


class DeliveryError(Exception):
    """Not delivered. `permanent`: another attempt would fail the same way."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Adapter(Protocol):
    """Sends one message after the other; may keep a connection open until `close`."""

    def check(self, kind: str) -> None:
        """Raises LookupError if there are no words for this kind."""

    def send(self, envelope: Envelope) -> None:
        """Raises DeliveryError."""

    def close(self) -> None: ...
