from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway.services import check_books, gaps


class Command(BaseCommand):
    help = "Compare calls, budgets, usage and the ledger; names what disagrees, and then ends with an error."

    def handle(self, *args: Any, **options: Any) -> None:
        for gap in gaps():
            self.stdout.write(str(gap))
        wrong = check_books()
        if wrong:
            raise CommandError("The books disagree:\n" + "\n".join(wrong))
        self.stdout.write("Every unit is accounted for.")
