"""Every address. Each app's `urls.py` has two lists of whole paths: `pages`, and `api` (named `api:…`)."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from allauth.account import views as account
from allauth.account.decorators import secure_admin_login
from allauth.mfa.base.views import authenticate
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, register_converter
from django_ratelimit.decorators import ratelimit

from common.ids import converter
from common.limiter import client_bucket
from config import views

PREFIXES = "usr org mbr key mdl ver prc end req bud msg fam cod evt rev dep inv"
for prefix in PREFIXES.split():
    register_converter(converter(prefix), prefix)

APPS = ("observability", "notifications", "accounts", "apikeys", "marketplace", "billing", "gateway", "analytics")
modules = [import_module(f"{app}.urls") for app in APPS if find_spec(f"{app}.urls")]

View = Callable[..., HttpResponse]


def rate_limited(view: View) -> View:
    """A form that anyone may send, AUTH_RATE_PER_MINUTE times a minute from one address."""

    def address(group: str, request: HttpRequest) -> str:
        return client_bucket(request.META, settings.TRUSTED_PROXIES)

    def rate(group: str, request: HttpRequest) -> str:
        return f"{settings.AUTH_RATE_PER_MINUTE}/m"

    decorated: View = ratelimit(group=view.__name__, key=address, rate=rate, method="POST")(view)
    return decorated


admin.site.login = secure_admin_login(admin.site.login)  # by the site's own log-in, which asks for a second factor

urlpatterns = [
    path("", views.home, name="home"),
    path("theme/<str:value>", views.theme, name="theme"),
    path("_components/", views.components, name="components"),
    *(pattern for module in modules for pattern in module.pages),
    path("", include(([pattern for module in modules for pattern in module.api], "api"))),
    path("accounts/signup/", rate_limited(account.signup), name="account_signup"),
    path("accounts/login/", rate_limited(account.login), name="account_login"),
    path(
        "accounts/confirm-email/", rate_limited(account.email_verification_sent), name="account_email_verification_sent"
    ),
    path("accounts/password/reset/", rate_limited(account.password_reset), name="account_reset_password"),
    path("accounts/2fa/authenticate/", rate_limited(authenticate), name="mfa_authenticate"),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "observability.views.bad_request"
handler403 = "observability.views.forbidden"
handler404 = "observability.views.not_found"
handler500 = "observability.views.server_error"
