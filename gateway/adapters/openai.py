"""Upstreams that speak OpenAI's API. Unknown fields pass through untouched."""

from __future__ import annotations

from typing import Any

from gateway.adapters import Usage, reported

PATHS = {"chat": "/chat/completions", "completion": "/completions", "embedding": "/embeddings"}


def url(base: str, kind: str) -> str:
    return base.rstrip("/") + PATHS[kind]


def request(body: dict[str, Any], *, upstream_model: str, stream: bool) -> dict[str, Any]:
    """Usage is always asked for, so that a stream can be billed by what the upstream reports."""
    sent = {**body, "model": upstream_model}
    if stream:
        options = body.get("stream_options")
        sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return sent


def usage(answer: Any) -> Usage | None:
    found = answer.get("usage") if isinstance(answer, dict) else None
    return reported(found, ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))


def is_empty(answer: Any, kind: str) -> bool:
    content = answer.get("data" if kind == "embedding" else "choices") if isinstance(answer, dict) else None
    return not isinstance(content, list) or not content
