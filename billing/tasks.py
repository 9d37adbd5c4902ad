"""The clock's side of the sweeps."""

from celery import shared_task

from billing import services


@shared_task(name="billing.measure_demand")
def measure_demand() -> int:
    return services.measure_demand()
