from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ObservabilityConfig(AppConfig):
    name = "observability"

    def ready(self) -> None:
        autodiscover_modules(
            "errors"
        )  # every code is registered before the first request, for the page that lists them
