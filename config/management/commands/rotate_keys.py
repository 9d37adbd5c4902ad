from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import services as accounts
from apikeys import services as apikeys
from common.sealing import SealError
from gateway import services as gateway
from notifications import services as notifications
from observability import services as observability

STEPS = (
    ("API keys", apikeys.wrap_digests),
    ("secrets of endpoints", gateway.reseal_endpoints),
    ("predictions", gateway.reseal_predictions),
    ("messages", notifications.reseal_messages),
    ("webhooks", notifications.reseal_webhooks),
    ("second factors", accounts.reseal_factors),
    ("refresh tokens", accounts.reseal_tokens),
    ("kept answers", observability.reseal_answers),
)

LEFT = (
    ("API keys", "KEY_PEPPERS", apikeys.count_unwrapped),
    ("secrets of endpoints", "KEY_ENCRYPTION_KEYS", gateway.count_retired_endpoints),
    ("predictions", "KEY_ENCRYPTION_KEYS", gateway.count_retired_predictions),
    ("messages", "KEY_ENCRYPTION_KEYS", notifications.count_retired_messages),
    ("webhooks", "KEY_ENCRYPTION_KEYS", notifications.count_retired_webhooks),
    ("secrets of second factors", "KEY_ENCRYPTION_KEYS", accounts.count_retired_factors),
    ("refresh tokens", "KEY_ENCRYPTION_KEYS", accounts.count_retired_tokens),
    ("kept answers", "KEY_ENCRYPTION_KEYS", observability.count_retired_answers),
)
JWT = (
    "JWT_SIGNING_KEYS sign tokens of five minutes, of which nothing is stored: put the new key in front, and take the "
    "older ones away five minutes after the last process was started with it."
)


class Command(BaseCommand):
    help = (
        "After a new key was put in front of KEY_PEPPERS or KEY_ENCRYPTION_KEYS and every process was started with it, "
        "bring what is stored under it. Then the older KEY_ENCRYPTION_KEYS may go; older KEY_PEPPERS stay, since they "
        "are part of every digest. Safe to repeat and to interrupt."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; say what is left on older keys, and fail if it is."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"]:
            self._check()
            return
        for what, step in STEPS:
            try:
                self.stdout.write(f"{what}: {step()} were brought under the newest key.")
            except SealError as error:
                raise CommandError(f"Of the {what}, one does not open: {error}. Keep the older keys.") from None
        self.stdout.write(JWT)

    def _check(self) -> None:
        left = 0
        for what, setting, count in LEFT:
            try:
                number = count()
            except SealError as error:
                raise CommandError(f"Of the {what}, one is damaged: {error}.") from None
            self.stdout.write(f"{what}: {number} not under the newest of {setting}.")
            left += number
        if left:
            raise CommandError(f"{left} are left. Run `manage.py rotate_keys`.")
