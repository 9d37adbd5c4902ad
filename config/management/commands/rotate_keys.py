from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import services as accounts
from apikeys import services as apikeys
from common.sealing import SealError
from gateway import services as gateway
from notifications import services as notifications

STEPS = (
    ("API keys", apikeys.wrap_digests),
    ("secrets of endpoints", gateway.reseal_endpoints),
    ("messages", notifications.reseal_messages),
    ("second factors", accounts.reseal_factors),
    ("refresh tokens", accounts.reseal_tokens),
)


class Command(BaseCommand):
    help = (
        "After a new key was put in front of KEY_PEPPERS or KEY_ENCRYPTION_KEYS and every process was started with it, "
        "bring what is stored under it. Then the older KEY_ENCRYPTION_KEYS may go; older KEY_PEPPERS stay, since they "
        "are part of every digest. Safe to repeat and to interrupt."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for what, step in STEPS:
            try:
                self.stdout.write(f"{what}: {step()} were brought under the newest key.")
            except SealError as error:
                raise CommandError(f"Of the {what}, one does not open: {error}. Keep the older keys.") from None
