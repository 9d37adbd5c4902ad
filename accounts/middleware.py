"""Times are shown in the zone of the organization that a person acts for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone


class TimeZoneMiddleware:
    """Stands after the access policy, which finds out who is asking on the pages of people who signed in.

    On other pages, and in the API, nobody is looked up for it, and times stay in the site's zone; the footer names it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with timezone.override(None):  # whatever is set inside ends with the request
            return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        actor = vars(request).get("actor")
        if actor is not None and actor.organization is not None:
            timezone.activate(ZoneInfo(actor.organization.time_zone))
