"""True examples: what a model was asked in its contract check, and what its endpoint answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from common.logs import HIDDEN, mask
from gateway.models import Endpoint
from marketplace.models import AIModel
from marketplace.services.forms import example_of_schema

MOST_CHARACTERS = 6_000  # of an answer; what is longer although it was cut is not kept
TEXT, LIST, LEVELS = 600, 6, 12  # what is kept of one text and one list, and how deep


@dataclass(frozen=True, slots=True)
class Example:
    """An exchange that took place. `output` is as it came, but that long texts and lists are cut: then `is_cut`."""

    kind: str
    input: dict[str, Any]
    output: Any
    is_cut: bool
    at: datetime


def kept_example(*, kind: str, sent: dict[str, Any], received: Any, secret: str | None) -> dict[str, Any] | None:
    """What a check keeps of its exchange, without secrets; None if it is too much to be read."""
    output = _cut(received, 0)
    text = msgspec.json.encode({"input": sent, "output": output}).decode()
    if len(text) > MOST_CHARACTERS:
        return None
    try:
        found: dict[str, Any] = msgspec.json.decode(mask(text.replace(secret, HIDDEN) if secret else text))
    except ValueError:  # what was hidden reached over the end of a text
        return None
    return {"kind": kind, **found, "is_cut": output != received}


def example_of(ai_model: AIModel) -> Example | None:
    """The exchange of the last check that went well; None if the endpoint or what it is asked is another now."""
    endpoint, version = Endpoint.objects.of_model(ai_model.pk).first(), ai_model.current_version
    if endpoint is None or version is None:
        return None
    checks = endpoint.checks.filter(ended_at__isnull=False, started_at__gte=endpoint.updated_at)
    check = checks.filter(steps__contains=[{"name": "answer", "outcome": "passed"}]).order_by("-id").first()
    if check is None:
        return None
    kept = next(step.get("example") for step in check.steps if step["name"] == "answer")
    if kept is None or not _is_asked(kept["input"], example_of_schema(version.input_schema)):
        return None
    return Example(**kept, at=check.ended_at)


def _is_asked(sent: dict[str, Any], sample: Any) -> bool:
    """Whether a check would still ask this: the schema's example, but for what a check bounds."""
    if not isinstance(sample, dict):
        return False
    bounded = {"max_tokens", "stream"}
    return {n: v for n, v in sent.items() if n not in bounded} == {n: v for n, v in sample.items() if n not in bounded}


def _cut(value: Any, level: int) -> Any:
    if level > LEVELS:
        return "…"
    if isinstance(value, dict):
        return {name: _cut(inner, level + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, level + 1) for inner in value[:LIST]]
    if isinstance(value, str) and len(value) > TEXT:
        return f"{value[:TEXT]}…"
    return value
