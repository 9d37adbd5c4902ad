"""Messages with valid defaults."""

import json
from typing import Any

from common.ids import uuid7
from common.sealing import seal
from notifications.models import Message, payload_context


def make_message(*, payload: dict[str, Any] | None = None, **fields: Any) -> Message:
    """A pending message of the kind `notifications.test`, due now."""
    id = uuid7()
    sealed = seal(json.dumps(payload or {}).encode(), payload_context(id))
    values = {"kind": "notifications.test", "to_address": "anna@example.org", "language": "en", "payload": sealed}
    return Message.objects.create(**{"id": id, **values, **fields})
