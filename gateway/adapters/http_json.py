"""Any JSON model: its input goes out as it is, its output comes back as it is."""

from __future__ import annotations

from typing import Any

from gateway.adapters import Usage, reported


def url(base: str, kind: str) -> str:
    return base


def request(body: dict[str, Any], *, upstream_model: str, stream: bool) -> dict[str, Any]:
    return body


def usage(answer: Any) -> Usage | None:
    """From a member `usage` of the output, when the model has one."""
    found = answer.get("usage") if isinstance(answer, dict) else None
    return reported(found, ("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))


def is_empty(answer: Any, kind: str) -> bool:
    return answer is None or answer == {} or answer == []
