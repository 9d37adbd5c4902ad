"""The clock's side of the roll-up."""

from celery import shared_task

from analytics import services


@shared_task(name="analytics.roll_up")
def roll_up() -> int:
    return services.roll_up()
