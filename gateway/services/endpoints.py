"""Where a model's calls go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction

from common.outbound import OutboundRefused, check_url, origin_of
from common.problems import FieldError, NotFound, ValidationFailed
from common.sealing import count_retired, open_sealed, reseal_column, seal
from gateway.errors import EndpointRefused
from gateway.models import Endpoint
from marketplace.models import AIModel
from marketplace.services import forget_check, hold_models, record_callable
from observability.services import record

SIGNING_KEY_BYTES = 32
USUAL_HEADER = {"anthropic": "x-api-key"}
HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,58}", re.ASCII)
#: Set by the gateway, or about the connection and not the message.
# fmt: off
OWN_HEADERS = frozenset((
    "accept", "accept-encoding", "anthropic-beta", "anthropic-version", "connection", "content-length", "content-type",
    "cookie", "expect", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint ready to be called, its secrets opened. Never logged."""

    endpoint_id: UUID
    url: str
    protocol: str
    upstream_model: str
    auth_header: str
    secret: str | None = field(repr=False)
    signing_key: bytes = field(repr=False)
    timeout_seconds: int
    max_cost_nano: int | None
    #: What its calls have in common, made by whoever makes the first of them; it ends with the target.
    prepared: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)


@transaction.atomic
def set_endpoint(
    *,
    ai_model: AIModel,
    url: str,
    protocol: str,
    secret: str | None = None,
    auth_header: str = "",
    timeout_seconds: int = 60,
    max_cost_nano: int | None = None,
    upstream_model: str = "",
) -> Endpoint:
    """Send the calls of the model's current version to `url`, in place of where they went before.

    auth_header: which header carries the secret, if not the protocol's usual one.
    secret: the header's value without `Bearer `; None keeps the one that is there, as long as the origin stays the
    same; "" removes it. Raises EndpointRefused for an address that the outbound door would not dial, ValidationFailed
    for a header that cannot be sent.
    """
    auth_header = auth_header or USUAL_HEADER.get(protocol, "Authorization")
    if faults := list(_header_faults(auth_header, secret or "")):
        raise ValidationFailed(errors=faults)
    version = ai_model.current_version
    if version is None:
        raise EndpointRefused("The model has no version yet.")
    try:
        check_url(url)
    except OutboundRefused as refusal:
        raise EndpointRefused(str(refusal), errors=[pointer_error("/url", str(refusal))]) from None
    if not hold_models(ai_model.pk):
        raise NotFound()
    endpoint = Endpoint.objects.select_for_update().filter(version=version).first()
    was = None if endpoint is None else _facts(endpoint)
    if endpoint is None:
        endpoint = Endpoint(version=version)
        endpoint.sealed_signing_key = seal(os.urandom(SIGNING_KEY_BYTES), _signing_context(endpoint.id))
    elif secret is None and endpoint.sealed_secret is not None and origin_of(endpoint.url) != origin_of(url):
        endpoint.sealed_secret = None  # a secret is only ever sent to the origin it was given for
    if secret is not None:
        endpoint.sealed_secret = seal(secret.encode(), _secret_context(endpoint.id, url)) if secret else None
    endpoint.url, endpoint.protocol, endpoint.upstream_model = url, protocol, upstream_model
    endpoint.auth_header, endpoint.timeout_seconds, endpoint.max_cost_nano = auth_header, timeout_seconds, max_cost_nano
    endpoint.save()
    record(
        "model.endpoint_set",
        target=ai_model,
        organization_id=ai_model.publisher_id,
        before=was,
        after=_facts(endpoint) | {"secret_given": bool(secret)},
    )
    record_callable(ai_model_id=ai_model.pk, callable=True)
    forget_check(ai_model_id=ai_model.pk)  # what was checked was another one
    return endpoint


def _facts(endpoint: Endpoint) -> dict[str, Any]:
    """What an event says of an endpoint: neither its secret nor the query of its address, which may hold one."""
    names = ("protocol", "upstream_model", "auth_header", "timeout_seconds", "max_cost_nano")
    parts = urlsplit(endpoint.url)
    return {name: getattr(endpoint, name) for name in names} | {
        "url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
        "secret_kept": endpoint.sealed_secret is not None,
    }


def _header_faults(name: str, value: str) -> Iterator[FieldError]:
    if not HEADER_NAME.fullmatch(name):
        yield pointer_error("/auth_header", "Give the name of a header, such as X-API-Key.")
    elif name.lower() in OWN_HEADERS or name.lower().startswith("x-agorai-"):
        yield pointer_error("/auth_header", "The gateway sets this header itself.")
    if not value.isprintable() or not value.isascii():
        yield pointer_error("/secret", "A header's value is printable ASCII.")


def signing_key_of(endpoint: Endpoint) -> bytes:
    """What requests to this endpoint are signed with; its publisher may read it."""
    return open_sealed(bytes(endpoint.sealed_signing_key), _signing_context(endpoint.id))


def target_of_row(row: Mapping[str, Any]) -> Target:
    """From the columns of an endpoint, its id being `endpoint_id`. Raises SealError."""
    id, url = row["endpoint_id"], row["url"]
    sealed = row["sealed_secret"]
    return Target(
        endpoint_id=id,
        url=url,
        protocol=row["protocol"],
        upstream_model=row["upstream_model"],
        auth_header=row["auth_header"],
        secret=None if sealed is None else open_sealed(sealed, _secret_context(id, url)).decode(),
        signing_key=open_sealed(row["sealed_signing_key"], _signing_context(id)),
        timeout_seconds=row["timeout_seconds"],
        max_cost_nano=row["max_cost_nano"],
    )


def reseal_endpoints() -> int:
    """Bring the secrets of endpoints under the current key-encryption key. Returns how many changed."""
    secrets = reseal_column(
        Endpoint.objects.all(), "sealed_secret", lambda endpoint: _secret_context(endpoint.id, endpoint.url)
    )
    keys = reseal_column(Endpoint.objects.all(), "sealed_signing_key", lambda endpoint: _signing_context(endpoint.id))
    return secrets + keys


def count_retired_endpoints() -> int:
    """How many secrets of endpoints are not under the current key-encryption key."""
    return sum(count_retired(Endpoint.objects.all(), column) for column in ("sealed_secret", "sealed_signing_key"))


def pointer_error(pointer: str, detail: str, code: str = "invalid") -> FieldError:
    return {"pointer": pointer, "code": code, "detail": detail}


def _secret_context(endpoint_id: UUID, url: str) -> str:
    return f"gateway_endpoint:{endpoint_id}:secret:{origin_of(url)}"


def _signing_context(endpoint_id: UUID) -> str:
    return f"gateway_endpoint:{endpoint_id}:signing_key"
