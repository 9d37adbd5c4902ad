"""The clock's side of the logs."""

from celery import shared_task

from observability import services


@shared_task(name="observability.export_audit_head")
def export_audit_head() -> int:
    return services.export_audit_head()


@shared_task(name="observability.rotate_request_log")
def rotate_request_log() -> int:
    return services.rotate_request_log()


@shared_task(name="observability.prune_idempotency_keys")
def prune_idempotency_keys() -> int:
    return services.prune_idempotency_keys()
