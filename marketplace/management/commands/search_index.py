from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from elastic_transport import TransportError
from elasticsearch import ApiError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from marketplace import services


class Command(BaseCommand):
    help = (
        "Keep Elasticsearch's index of models (ELASTICSEARCH_URL). --rebuild writes a new one beside the old and "
        "switches over when it is whole, so that searching never stops; without it, what was changed since the last "
        "sweep is told at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rebuild", action="store_true", help="Write the whole index anew.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.ELASTICSEARCH_URL:
            raise CommandError("ELASTICSEARCH_URL is empty: PostgreSQL searches, and needs no index.")
        if not options["rebuild"]:
            self.stdout.write(f"{services.sweep_index()} models were told to the index.")
            return
        columns = (TextColumn("Models"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(file=self.stderr, force_terminal=None if self.stderr.isatty() else False)  # type: ignore[arg-type]
        try:
            with Progress(*columns, console=console) as shown:
                task = shown.add_task("models")
                count = services.rebuild_index(progress=lambda done, all: shown.update(task, completed=done, total=all))
        except (TransportError, ApiError, services.IndexNotBuilt) as error:
            raise CommandError(f"The index was not built, and the old one stays: {error}") from None
        self.stdout.write(f"{count} models are in the new index, which is searched from now on.")
