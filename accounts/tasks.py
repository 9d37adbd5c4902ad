"""The worker's door."""

from celery import shared_task

from accounts import services


@shared_task(name="accounts.prune_codes")
def prune_codes() -> int:
    return services.prune_codes()


@shared_task(name="accounts.erase_accounts")
def erase_accounts() -> int:
    return services.erase_accounts()
