"""Writing to the outbox, and handing over what is in it: messages to people, webhooks to programs."""

from notifications.services.messages import (
    count_retired_messages,
    deliver,
    notify,
    reseal_messages,
    send_again,
)
from notifications.services.signing import count_retired_webhooks, reseal_webhooks, shown_secret, webhook_secret
from notifications.services.webhooks import deliver_webhooks, prune_webhooks, send_webhook

__all__ = [
    "count_retired_messages",
    "count_retired_webhooks",
    "deliver",
    "deliver_webhooks",
    "notify",
    "prune_webhooks",
    "reseal_messages",
    "reseal_webhooks",
    "send_again",
    "send_webhook",
    "shown_secret",
    "webhook_secret",
]
