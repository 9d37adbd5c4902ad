from typing import Any

from django.core.management.commands import migrate

from config import roles
from config.staff import sync_groups


class Command(migrate.Command):
    """Django's `migrate`, as the role that owns the database; afterwards the application's role gets its rights, and
    the groups of staff theirs."""

    def handle(self, *args: Any, **options: Any) -> None:
        with roles.as_owner(options["database"]):
            super().handle(*args, **options)
            if not (options["check_unapplied"] or options["plan"]):
                roles.grant_app_role(options["database"])
                if not options["app_label"]:  # else some of the tables may be missing
                    sync_groups()
