from typing import Any

from django.core.management.base import BaseCommand

from apikeys import services


class Command(BaseCommand):
    help = (
        "After a new pepper was put in front of KEY_PEPPERS: bring the digests of all keys under it. The keys "
        "themselves stay as they are. Keep the older peppers; they are part of every digest. Safe to repeat and to "
        "interrupt."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{services.wrap_digests()} keys were brought under the newest pepper.")
