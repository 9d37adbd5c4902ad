from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Bring the database, the static files and the demo in step with the code, in one process. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        for message, command in (
            ("Migrating the database", ("migrate",)),
            ("Collecting static files", ("collectstatic", "--no-input")),
            ("Filling the demo", ("seed_demo",)),
        ):
            self.stdout.write(message)
            self.stdout.flush()
            call_command(*command, verbosity=0)
