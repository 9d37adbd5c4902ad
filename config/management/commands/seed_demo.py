import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from config import demo


class Command(BaseCommand):
    help = (
        "Fill the demonstration: people, listings, a key and a month of made-up usage, all marked as such. "
        "Safe to repeat. Logins and key stand in demo.json of the directory AGORAI_VAR; DEMO_UPSTREAM_URL is "
        "where the models answer."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--seed", type=int, default=1, help="number that the made-up usage is drawn from (default 1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        var = demo.default_var(os.environ)
        done = demo.seed(var=var, upstream_url=os.environ.get("DEMO_UPSTREAM_URL", ""), number=options["seed"])
        made = f"{done.made_people} people, {done.made_models} listings and {done.made_calls} past calls"
        if options["verbosity"]:
            self.stdout.write(f"The demo is filled: {made} are new. Logins are in {var.demo}")
