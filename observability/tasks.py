"""The clock's side of the logs."""

from celery import shared_task

from observability import services


@shared_task(name="observability.export_audit_head")
def export_audit_head() -> int:
    return services.export_audit_head()
