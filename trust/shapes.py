"""What an answer of the API may hold, by its committed description, docs/api/openapi.yaml. To be imported in `run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from config.cluster import ROOT
from trust.places import Place

#: Answers that the description leaves open, and the names in them.
MODEL = {"id", "object", "created", "owned_by", "name", "version", "category", "pricing"}
RATES = {"per_call", "input_tokens_per_million", "output_tokens_per_million", "type", "currency", "amount"}
BUCKET = {"start", "calls", "errors", "input_tokens", "output_tokens", "cost", "amount", "currency"}
OPEN: Mapping[str, frozenset[str]] = {
    "/v1/models": frozenset({"object", "data"} | MODEL | RATES),
    "/v1/models/{slug}": frozenset(MODEL | RATES),
    "/api/analytics/usage": frozenset({"from", "to", "tz", "granularity", "buckets", "totals", *BUCKET}),
}
#: Objects that it names without saying what is in them.
INSIDE: Mapping[str, frozenset[str]] = {
    "model": frozenset({"id", "slug", "name", "version"}),
    "usage": frozenset({"input_tokens", "output_tokens", "source"}),
    "price": frozenset({"id", *RATES}),
    "rule": frozenset({"code", "text"}),
    "spend_limit": frozenset({"amount", "currency", "window"}),
    "deployment": frozenset({"id", "name"}),
    "fields": frozenset({"Content-Type", "signature"}),  # of an upload to a folder
}
#: Beneath these is what publishers wrote themselves: JSON Schemas; and what the audit log says of each act.
FREE = ("input", "output", "before", "after")


class Shapes:
    def __init__(self) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._document = yaml.load((ROOT / "docs/api/openapi.yaml").read_text(), Loader=loader)  # noqa: S506  # safe

    def undeclared(self, place: Place, method: str, status: int, body: Any) -> list[str]:
        """The pointers of what an answer holds beyond its description."""
        path, operation = self._operation(place, method)
        if path in OPEN:
            return [pointer for pointer in _names(body) if pointer.rpartition("/")[2] not in OPEN[path]]
        answer = operation.get("responses", {}).get(str(status), {})
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        return [""] if schema is None else list(self._beyond(schema, body, ""))

    def takes(self, place: Place, method: str) -> dict[str, Any] | None:
        """The properties of the body; None where none is taken."""
        body = self._operation(place, method)[1].get("requestBody")
        if body is None:
            return None
        schema = next(iter(body["content"].values()))["schema"]
        found: dict[str, Any] = self._resolved(schema).get("properties", {})
        return found

    def _operation(self, place: Place, method: str) -> tuple[str, dict[str, Any]]:
        parts = place.pattern.split("/")
        path = "/".join("{" + part[1:-1].partition(":")[2] + "}" if part.startswith("<") else part for part in parts)
        return path, self._document["paths"].get(path, {}).get(method.lower(), {})

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def _beyond(self, schema: dict[str, Any], value: Any, pointer: str) -> Iterator[str]:
        schema = self._resolved(schema)
        ways = [self._resolved(one) for one in (*schema.get("oneOf", ()), *schema.get("anyOf", ()))]
        if ways and isinstance(value, dict | list):
            ways = [one for one in ways if "properties" in one or "items" in one] or ways
            yield from min((list(self._beyond(one, value, pointer)) for one in ways), key=len)
            return
        for part in schema.get("allOf", ()):
            schema = {**schema, **self._resolved(part)}
        if isinstance(value, list):
            for number, one in enumerate(value):
                yield from self._beyond(schema.get("items", {}), one, f"{pointer}/{number}")
        elif isinstance(value, dict):
            known = schema.get("properties", {})
            if not known and (name := pointer.rpartition("/")[2]) in INSIDE:
                yield from (f"{pointer}{one}" for one in _names(value) if one.rpartition("/")[2] not in INSIDE[name])
                return
            for name, inner in value.items():
                if name not in known:
                    yield f"{pointer}/{name}"
                elif name not in FREE:
                    yield from self._beyond(known[name], inner, f"{pointer}/{name}")


def _names(value: Any, pointer: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{pointer}/{name}"
            yield from _names(inner, f"{pointer}/{name}")
    elif isinstance(value, list):
        for one in value:
            yield from _names(one, pointer)
