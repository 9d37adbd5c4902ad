#!/usr/bin/env python
"""The operator's commands; `manage.py help` lists them."""

import os
import sys


def main() -> None:
    if sys.argv[1:] == ["up"]:  # the supervisor needs nothing of Django, and outlives the start by days
        from config import up

        raise SystemExit(up.main())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
