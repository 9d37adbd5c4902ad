"""What a request says and how an answer begins, between the bytes and the words of the gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from django.urls import resolve

from common.ids import decode
from common.jsonsafe import UnsafeJSON, loads
from common.problems import InvalidJSON, ValidationFailed
from gateway.errors import ModelNotFound
from gateway.hotpath.predictions import PATH as PREDICTIONS
from gateway.hotpath.rules import KINDS
from gateway.services.deployments import MAX_NAME_LENGTH, NAME

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_BODY_VALUES = 1_000_000  # texts to embed may come as arrays of tokens
INVOKE = re.compile(r"/api/models/[^/]+/invoke")
INVOKE_ROUTE = "api:model-invoke"


@cache
def _route(path: str) -> str:
    return resolve(path).view_name


def route_of(path: str) -> str:
    """The name of the address, as it stands in `config/access.py`. Addresses of models have one between them."""
    return _route(path) if path in KINDS or path == PREDICTIONS else INVOKE_ROUTE


def parse_body(raw: bytes) -> dict[str, Any]:
    """The body as an object. Raises InvalidJSON for what is no safe JSON, ValidationFailed for another type."""
    try:
        body = loads(raw, max_bytes=MAX_BODY_BYTES, max_values=MAX_BODY_VALUES)
    except UnsafeJSON as fault:
        raise InvalidJSON(
            fault.detail, errors=[{"pointer": fault.pointer, "code": fault.code, "detail": fault.detail}]
        ) from None
    if not isinstance(body, dict):
        detail = "The body must be a JSON object."
        raise ValidationFailed(errors=[{"pointer": "", "code": "not_an_object", "detail": detail}])
    return body


def model_key(name: str) -> UUID | str:
    """`mdl_…` as its id, `publisher/name` or `publisher:name` as a slug, a word of neither shape as the name of a
    deployment. Raises ModelNotFound."""
    if name.startswith("mdl_"):
        try:
            return decode("mdl", name)
        except ValueError:
            raise ModelNotFound() from None
    slug = name.replace(":", "/", 1) if "/" not in name else name
    if "/" not in slug and len(slug) <= MAX_NAME_LENGTH and NAME.fullmatch(slug):
        return slug
    if slug.count("/") != 1 or len(slug) > 120 or not slug.isascii() or not slug.isprintable():
        raise ModelNotFound()
    return slug


def head_lines(headers: Mapping[str, str], length: int | None = None) -> bytes:
    """The lines of a head with their ends, `content-length` among them where the length is known. What Latin-1 has
    not, as in the name of a site, becomes a question mark. Raises ValueError for a value that would be more than one
    line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("A header holds the end of a line.")
    if length is not None:
        lines = f"{lines}content-length: {length}\r\n"
    return lines.encode("latin-1", "replace")
