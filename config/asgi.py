"""The gateway, with Django behind it for every other path."""

import gc
import os
from typing import cast

from django.core.asgi import get_asgi_application
from django.urls import get_resolver

from config.processes import raise_open_files

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
raise_open_files()

django_application = get_asgi_application()  # sets Django up, which the gateway's imports need

from gateway.hotpath.app import App, Application  # noqa: E402

application = Application(cast(App, django_application))

# Else the first call would wait for the code of every page, and calls now and then for a look through all of it.
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
