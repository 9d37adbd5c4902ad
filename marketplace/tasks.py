"""The clock's side of the sweeps."""

from celery import shared_task

from marketplace import services


@shared_task(name="marketplace.apply_prices")
def apply_prices() -> int:
    return services.apply_prices()


@shared_task(name="marketplace.sweep_index")
def sweep_index() -> int:
    return services.sweep_index()
