"""The clock's side of the sweeps."""

from celery import shared_task

from media import services


@shared_task(name="media.check_files")
def check_files() -> int:
    return services.check_files()


@shared_task(name="media.sweep_files")
def sweep_files() -> int:
    return services.sweep_files()
