"""Every address. Each app's `urls.py` has two lists of whole paths: `pages`, and `api` (named `api:…`)."""

from collections.abc import Callable
from importlib import import_module

from allauth.account import views as account
from allauth.mfa.base.views import authenticate
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, include, path, register_converter
from django_ratelimit.decorators import ratelimit

from common.ids import converter
from common.limiter import client_bucket
from config import overview, preferences, styleguide, views
from config.search import search

PREFIXES = "usr org mbr key mdl ver prc end req bud msg fam cod evt rev dep inv"
for prefix in PREFIXES.split():
    register_converter(converter(prefix), prefix)

APPS = ("observability", "notifications", "accounts", "apikeys", "marketplace", "gateway", "analytics")
modules = [import_module(f"{app}.urls") for app in APPS]  # not before the converters that their paths name


def public_form(route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
    """A form that anyone may send, AUTH_RATE_PER_MINUTE times a minute from one address."""

    def address(group: str, request: HttpRequest) -> str:
        return client_bucket(request.META, settings.TRUSTED_PROXIES)

    def rate(group: str, request: HttpRequest) -> str:
        return f"{settings.AUTH_RATE_PER_MINUTE}/m"

    return path(route, ratelimit(group=name, key=address, rate=rate, method="POST")(view), name=name)


urlpatterns = [
    path("", views.home, name="home"),
    path("search", search, name="search"),
    path("checklist", overview.dismiss_checklist, name="checklist"),
    path("theme/<str:value>", views.theme, name="theme"),
    path("settings/preferences", preferences.preferences, name="preferences"),
    path("_components/", styleguide.components, name="components"),
    *(pattern for module in modules for pattern in module.pages),
    path("", include(([pattern for module in modules for pattern in module.api], "api"))),
    public_form("accounts/signup/", account.signup, "account_signup"),
    public_form("accounts/login/", account.login, "account_login"),
    public_form("accounts/confirm-email/", account.email_verification_sent, "account_email_verification_sent"),
    public_form("accounts/password/reset/", account.password_reset, "account_reset_password"),
    public_form("accounts/2fa/authenticate/", authenticate, "mfa_authenticate"),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "observability.views.bad_request"
handler403 = "observability.views.forbidden"
handler404 = "observability.views.not_found"
handler429 = "observability.views.too_many_requests"  # allauth's name for it
handler500 = "observability.views.server_error"
