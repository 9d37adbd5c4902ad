"""The worker's door."""

from celery import shared_task

from notifications import services


@shared_task(name="notifications.deliver")
def deliver() -> int:
    return services.deliver()
