"""Whether the audit log still says what it said."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from observability.services.chain import links_of_lines, read_anchors, verify_chain, verify_links


class Command(BaseCommand):
    help = "Compute the chain of the audit log anew, compare it with the heads that were kept, name the first fault."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", help="check a whole export as JSON lines in place of the database")
        parser.add_argument("--anchors", help="the file of heads; by default AUDIT_ANCHOR_FILE, where there is one")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            anchors = self.anchors(options["anchors"])
            if options["file"]:
                with Path(options["file"]).open(encoding="utf-8") as lines:
                    verdict = verify_links(links_of_lines(lines), anchors)
            else:
                verdict = verify_chain(anchors)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        if verdict.fault:
            raise CommandError(verdict.fault)
        compared = f"{len(anchors)} kept heads agree" if anchors else "there was no kept head to compare with"
        self.stdout.write(f"{verdict.events} events are as they were written; {compared}.")

    @staticmethod
    def anchors(given: str | None) -> Any:
        if given:
            return read_anchors(Path(given))
        default = settings.AUDIT_ANCHOR_FILE
        return read_anchors(default) if default and default.exists() else []
