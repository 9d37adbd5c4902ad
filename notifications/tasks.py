"""The worker's door."""

from celery import shared_task

from notifications import services


@shared_task(name="notifications.deliver")
def deliver() -> int:
    return services.deliver()


@shared_task(name="notifications.deliver_webhooks")
def deliver_webhooks() -> int:
    return services.deliver_webhooks()


@shared_task(name="notifications.prune_webhooks")
def prune_webhooks() -> int:
    return services.prune_webhooks()
