"""What publishers say, signed, that a call used: kept for orphans, compared with everything else.

Signed as our requests to them are, with the key of an endpoint of the model that was called.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from common import clock
from common.clock import ClockNow
from common.ids import decode, encode
from common.jsonsafe import UnsafeJSON, loads
from common.problems import FieldError, ValidationFailed
from common.sealing import SealError
from gateway.adapters import MAX_TOKENS
from gateway.errors import ConfirmationNotSigned
from gateway.models import Endpoint, Invocation, UsageConfirmation
from gateway.services.books import gaps
from gateway.services.endpoints import SIGNING_KEY_BYTES, signing_key_of
from marketplace.services.pricing import cost_of

logger = structlog.get_logger(__name__)

MAX_BYTES = 4096
MAX_AGE = timedelta(minutes=5)
ENDPOINTS_TRIED = 20  # of the model, the one in force first
COMPARED_AT_ONCE = 1000
FIELDS = frozenset({"request_id", "input_tokens", "output_tokens"})
SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)


def confirm_usage(raw: bytes, *, signature: str) -> UsageConfirmation:
    """Keep what the body says, if it is signed by the publisher of the call that it names; the first one counts.

    raw: `{"request_id", "input_tokens", "output_tokens"}` as it was sent; signature: `t=<unix seconds>,v1=<hex>`.
    Raises ConfirmationNotSigned, which is the same whether or not there is such a call, and ValidationFailed.
    """
    body = _read(raw)
    call, endpoint_id = _require_signed(body, raw, signature)
    if faults := _faults(body):
        raise ValidationFailed(errors=faults)
    kept, _ = UsageConfirmation.objects.get_or_create(
        pk=call.pk,
        defaults={
            "endpoint_id": endpoint_id,
            "publisher_id": call.publisher_id,
            "input_tokens": body["input_tokens"],
            "output_tokens": body["output_tokens"],
            "received_at": clock.now(),
        },
    )
    return kept


def _read(raw: bytes) -> dict[str, Any]:
    """What cannot be read names no call, so nobody can have signed for it."""
    try:
        body = loads(raw, max_bytes=MAX_BYTES)
    except UnsafeJSON:
        raise ConfirmationNotSigned() from None
    if not isinstance(body, dict):
        raise ConfirmationNotSigned()
    return body


def _require_signed(body: dict[str, Any], raw: bytes, signature: str) -> tuple[Invocation, UUID]:
    """The call, and the endpoint whose key signed. Where there is no call, as much is done before the refusal."""
    found = SIGNATURE.fullmatch(signature)
    name = body.get("request_id")
    try:
        id = decode("req", name) if isinstance(name, str) else None
    except ValueError:
        id = None
    if found is None or id is None:
        raise ConfirmationNotSigned()
    at, given = found.groups()
    call = Invocation.objects.filter(pk=id, is_demo=False).select_related("price").first()
    signed = at.encode() + b"." + encode("req", id).encode() + b"." + raw
    for endpoint_id, key in _keys(call):
        expected = hmac.digest(key, signed, "sha256").hex()
        if hmac.compare_digest(expected, given) and call is not None and endpoint_id is not None:
            if abs(clock.now() - datetime.fromtimestamp(int(at), UTC)) > MAX_AGE:
                raise ConfirmationNotSigned()
            return call, endpoint_id
    raise ConfirmationNotSigned()


def _keys(call: Invocation | None) -> Sequence[tuple[UUID | None, bytes]]:
    """Those of the endpoints that the call may have gone to: of its version, or of one before it."""
    if call is None:
        return [(None, os.urandom(SIGNING_KEY_BYTES))]
    keys: list[tuple[UUID | None, bytes]] = []
    for endpoint in Endpoint.objects.of_model(call.ai_model_id).filter(version_id__lte=call.version_id)[
        :ENDPOINTS_TRIED
    ]:
        try:
            keys.append((endpoint.id, signing_key_of(endpoint)))
        except SealError:  # of a key-encryption key that is gone: nobody can be believed by it
            continue
    return keys


def _faults(body: dict[str, Any]) -> list[FieldError]:
    faults: list[FieldError] = [
        {"pointer": f"/{name}", "code": "unknown_field", "detail": "There is no such field."}
        for name in sorted(body.keys() - FIELDS)
    ]
    for name in ("input_tokens", "output_tokens"):
        count = body.get(name)
        if type(count) is not int or not 0 <= count <= MAX_TOKENS:
            detail = f"A whole number from 0 to {MAX_TOKENS:,}."
            faults.append({"pointer": f"/{name}", "code": "required" if count is None else "invalid", "detail": detail})
    return faults


@transaction.atomic
def compare_confirmations() -> int:
    """Compare what was confirmed of calls that are final by now with what they were settled for. Returns how many.

    A difference is a line in the log; a day of a publisher on which they are too large, an alert.
    """
    waiting = UsageConfirmation.objects.filter(compared_at=None).order_by("pk")
    rows = {row.id: row for row in waiting.select_for_update(skip_locked=True, no_key=True)[:COMPARED_AT_ONCE]}
    calls = Invocation.objects.final().filter(pk__in=list(rows)).select_related("price") if rows else []
    compared = 0
    days = set()
    for call in calls:
        row = rows[call.id]
        gap = _worth(call, row) - (call.cost_nano + call.overrun_nano)
        UsageConfirmation.objects.filter(pk=row.pk).update(compared_at=ClockNow(), gap_nano=gap)
        compared += 1
        if gap:
            days.add(call.started_at.astimezone(UTC).date())
            logger.warning("metering_gap", request_id=call.public_id, gap_nano=gap, rule=call.rule)
    for gap_of_day in gaps() if days else []:
        if gap_of_day.day in days and gap_of_day.is_alarming:
            logger.error("metering_gap_above_goal", day=str(gap_of_day.day), publisher=gap_of_day.publisher)
    return compared


def _worth(call: Invocation, confirmed: UsageConfirmation) -> int:
    """What the confirmed usage would have cost, in nano-units."""
    if call.mode == "test":
        return 0
    return cost_of(call.price, input_tokens=confirmed.input_tokens, output_tokens=confirmed.output_tokens)
