"""The clock's side of what is done for keys."""

from celery import shared_task

from apikeys import services


@shared_task(name="apikeys.send_reminders")
def send_reminders() -> int:
    return services.send_reminders()


@shared_task(name="apikeys.prune")
def prune() -> int:
    return services.prune()
