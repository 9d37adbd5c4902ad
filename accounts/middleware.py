"""The zone in which times are shown, and the cookie by which a browser is known again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.utils import timezone

from accounts import services
from accounts.services import known_devices


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


class DeviceMiddleware:
    """Gives a browser from which somebody has just logged in its cookie; see `accounts.services.known_devices`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        user = vars(request).get("device_of")
        if user is not None:
            response.set_cookie(
                settings.DEVICE_COOKIE_NAME,
                known_devices.cookie_for(user, request.COOKIES),
                max_age=known_devices.LIFETIME,
                secure=settings.IS_HTTPS,
                httponly=True,
                samesite="Lax",
            )
        return response


class SeenMiddleware:
    """Notes when and from where a session was last used, for the list of sessions. It looks nobody up itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        user = vars(request).get("_cached_user")
        if user is not None and user.is_authenticated and (key := request.session.session_key):
            services.see_session(user=user, session_key=key)
        return response


class FormMiddleware:
    """A form of allauth's that is shown again with its faults answers 422, as ours do; by itself it answers 200."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_template_response(
        self, request: HttpRequest, response: SimpleTemplateResponse
    ) -> SimpleTemplateResponse:
        match = request.resolver_match
        is_theirs = match is not None and match.func.__module__.startswith("allauth.")
        if is_theirs and request.method == "POST" and response.status_code == 200:
            shown = (value for value in (response.context_data or {}).values() if isinstance(value, BaseForm))
            if any(form.is_bound and form.errors for form in shown):
                response.status_code = 422
        return response
