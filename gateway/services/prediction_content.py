"""What is in a prediction: sealed at rest, shown to whoever made it, told to their webhook, erased when it expires."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import methodcaller
from typing import Any

from django.conf import settings

from common.ids import encode
from common.money import money
from common.problems import Problem, openai_envelope
from common.sealing import count_retired, open_sealed, reseal_column, seal
from gateway.models import Prediction
from notifications.services import send_webhook

SEALED = ("sealed_input", "sealed_output", "sealed_error", "sealed_webhook")
#: An event with more than this says that there is an output, and not what it is.
MAX_EVENT_BYTES = 64 * 1024


def seal_content(prediction: Prediction, column: str, content: bytes) -> bytes:
    return seal(content, prediction.context(column))


def content_of(prediction: Prediction, column: str) -> bytes | None:
    """Raises SealError."""
    sealed = getattr(prediction, column)
    return None if sealed is None else open_sealed(bytes(sealed), prediction.context(column))


def error_bytes(prediction: Prediction, problem: Problem) -> bytes:
    """What went wrong, as `/v1` says it."""
    error = openai_envelope(problem, encode("req", prediction.id))["error"]
    return json.dumps(error, default=str, ensure_ascii=False).encode()


def summary_of(prediction: Prediction) -> dict[str, Any]:
    """A prediction without its content. Reads `ai_model.publisher` and `version`."""
    id, request_id = prediction.public_id, encode("req", prediction.id)
    here = f"{settings.SITE_URL}/v1/predictions/{id}"
    return {
        "id": id,
        "object": "prediction",
        "model": f"{prediction.ai_model.publisher.slug}/{prediction.ai_model.slug}",
        "version": prediction.version.version,
        "status": prediction.status,
        "error_code": prediction.error_code or None,
        "cost": None if prediction.cost_nano is None else money(prediction.cost_nano, settings.CURRENCY),
        "request_id": request_id,
        "created_at": _instant(prediction.created_at),
        "started_at": _instant(prediction.started_at),
        "completed_at": _instant(prediction.completed_at),
        "deadline_at": _instant(prediction.deadline_at),
        "expires_at": _instant(prediction.expires_at),
        "urls": {
            "get": here,
            "cancel": f"{here}/cancel",
            "receipt": f"{settings.SITE_URL}/v1/requests/{request_id}",
        },
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def document_of(prediction: Prediction) -> dict[str, Any]:
    """All of a prediction. Raises SealError."""

    def parsed(column: str) -> Any:
        content = content_of(prediction, column)
        return None if content is None else json.loads(content)

    webhook = content_of(prediction, "sealed_webhook")
    return {
        **summary_of(prediction),
        "input": parsed("sealed_input"),
        "output": parsed("sealed_output"),
        "error": parsed("sealed_error"),
        "webhook": None if webhook is None else webhook.decode(),
        "webhook_events": prediction.webhook_events,
    }


def tell_webhook(prediction: Prediction, event: str, *, at: datetime) -> None:
    """Put what happened into the outbox, if whoever made the prediction wants to hear of it.

    event: `started` or `completed`. It holds the prediction without its input, and its output if that is small.
    """
    url = content_of(prediction, "sealed_webhook")
    if url is None or event not in prediction.webhook_events:
        return
    error = content_of(prediction, "sealed_error")
    data = {**summary_of(prediction), "output": None, "error": None if error is None else json.loads(error)}
    output = content_of(prediction, "sealed_output")
    data["has_output"] = output is not None
    if output is not None and len(output) <= MAX_EVENT_BYTES:
        data["output"] = json.loads(output)
    send_webhook(
        organization_id=prediction.organization_id,
        url=url.decode(),
        kind=f"prediction.{'started' if event == 'started' else prediction.status}",
        subject=prediction.public_id,
        data=data,
        at=at,
        dedupe_key=f"prediction:{prediction.id}:{event}",
    )


def erase_expired() -> int:
    """Returns how many predictions lost their content."""
    erased: Mapping[str, None] = dict.fromkeys(SEALED)
    return Prediction.objects.expired().exclude(sealed_input=None).update(**erased)


def forget_expired_before(at: datetime) -> int:
    """Returns how many rows went."""
    return Prediction.objects.filter(expires_at__lt=at).delete()[0]


def reseal_predictions() -> int:
    """Bring what is kept under the current key-encryption key. Returns how many values changed."""
    changed = 0
    for column in SEALED:
        rows = Prediction.objects.only("id", column)  # few at a time: each may be large
        changed += reseal_column(rows, column, methodcaller("context", column), chunk_size=20)
    return changed


def count_retired_predictions() -> int:
    """How many values are not under the current key-encryption key."""
    return sum(count_retired(Prediction.objects.all(), column, chunk_size=20) for column in SEALED)
