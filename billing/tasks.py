"""The clock's side of the sweeps."""

from celery import shared_task

from billing import services


@shared_task(name="billing.measure_demand")
def measure_demand() -> int:
    return services.measure_demand()


@shared_task(name="billing.post_usage")
def post_usage() -> int:
    return services.post_usage()


@shared_task(name="billing.end_grants")
def end_grants() -> int:
    return services.end_grants()
