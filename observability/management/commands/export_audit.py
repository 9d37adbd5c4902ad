"""The audit log as a file."""

import csv
import json
import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.ids import decode
from observability.services.chain import FIELDS, stored_links


class Command(BaseCommand):
    help = "Write events of the audit log as JSON lines or CSV. All of them as JSON lines can be verified later."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
        parser.add_argument("--organization", help="only the events of this organization, org_…")
        parser.add_argument("--since", help="only events from this instant on, such as 2026-11-01T00:00:00Z")
        parser.add_argument("--until", help="only events before this instant")
        parser.add_argument("--output", help="a file in place of the terminal")

    def handle(self, *args: Any, **options: Any) -> None:
        condition, parameters = self.condition(options)
        output = open(options["output"], "w", encoding="utf-8", newline="") if options["output"] else self.stdout  # noqa: SIM115
        try:
            links = stored_links(condition, parameters)
            count = self.write_csv(output, links) if options["format"] == "csv" else self.write_lines(output, links)
        finally:
            if output is not self.stdout:
                output.close()
        print(f"{count} events.", file=sys.stderr)  # noqa: T201  # the output may be a pipe

    @staticmethod
    def write_lines(output: Any, links: Any) -> int:
        count = 0
        for count, link in enumerate(links, 1):  # noqa: B007
            output.write(f"{link.line()}\n")
        return count

    @staticmethod
    def write_csv(output: Any, links: Any) -> int:
        writer = csv.writer(output)
        writer.writerow([*FIELDS, "previous_hash", "hash"])
        count = 0
        for count, link in enumerate(links, 1):  # noqa: B007
            cells = [_cell(name, text) for name, text in link.values.items()]
            writer.writerow([*cells, link.previous_hash, link.hash])
        return count

    @staticmethod
    def condition(options: dict[str, Any]) -> tuple[str, list[Any]]:
        conditions, parameters = "", list[Any]()
        try:
            if options["organization"]:
                conditions += " AND organization_id = %s"
                parameters.append(decode("org", options["organization"]))
            for name, comparison in (("since", ">="), ("until", "<")):
                if options[name]:
                    conditions += f" AND at {comparison} %s"
                    parameters.append(_instant(options[name]))
        except ValueError as error:
            raise CommandError(str(error)) from error
        return conditions, parameters


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("Give the instant with its zone, such as 2026-11-01T00:00:00Z.")
    return at


def _cell(name: str, text: str) -> Any:
    """A text as itself, nothing as nothing, and what changed as JSON. No text is a formula to a spreadsheet."""
    value = json.loads(text)
    if name in ("before", "after"):
        return "" if value is None else text
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
