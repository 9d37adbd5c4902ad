from typing import Any

from django.core.management.base import BaseCommand

from config import up


class Command(BaseCommand):
    """Listed for `manage.py help`; `manage.py up` itself starts `config.up` without loading Django."""

    help = "Start everything on this machine: databases, site, gateway, worker and the demo's models."

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit(up.main())
