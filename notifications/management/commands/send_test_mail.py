"""Try the whole way a mail takes: outbox, templates, mail server."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email

from notifications import services


class Command(BaseCommand):
    help = "Send a test message to an address and say what became of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address")

    def handle(self, *args: Any, **options: Any) -> None:
        address = options["address"]
        try:
            validate_email(address)
        except ValidationError:
            raise CommandError(f"{address} is not an e-mail address.") from None
        message = services.notify(to=address, kind="notifications.test", payload={})
        services.deliver()
        message.refresh_from_db()
        if message.state != message.State.SENT:
            reason = message.last_error or "another worker has it; look at it in the admin"
            raise CommandError(f"{message.public_id} was not sent: {reason}.")
        self.stdout.write(f"{message.public_id} was handed over for {address}.")
