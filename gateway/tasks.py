"""The clock's side of the sweeps."""

from celery import shared_task

from gateway import services


@shared_task(name="gateway.settle_orphans")
def settle_orphans() -> int:
    return services.settle_orphans()


@shared_task(name="gateway.compare_confirmations")
def compare_confirmations() -> int:
    return services.compare_confirmations()


@shared_task(name="gateway.create_partitions")
def create_partitions() -> int:
    return services.create_partitions()


@shared_task(name="gateway.sweep_predictions")
def sweep_predictions() -> int:
    return services.sweep_predictions()


@shared_task(name="gateway.prune_predictions")
def prune_predictions() -> int:
    return services.prune_predictions()


@shared_task(name="gateway.measure_models")
def measure_models() -> int:
    return services.measure_models()


@shared_task(name="gateway.run_checks")
def run_checks() -> int:
    return services.run_checks()


@shared_task(name="gateway.warn_deployers")
def warn_deployers() -> int:
    return services.warn_deployers()


@shared_task(name="gateway.warn_pinned")
def warn_pinned() -> int:
    return services.warn_pinned()


@shared_task(name="gateway.schedule_checks")
def schedule_checks() -> int:
    return services.schedule_checks()
