"""Every address. Each app's `urls.py` has two lists of whole paths: `pages`, and `api` (named `api:…`)."""

from importlib import import_module

from django.contrib import admin
from django.urls import include, path, register_converter

from common.ids import converter
from config import overview, preferences, styleguide, views
from config.search import search

PREFIXES = "usr org mbr key mdl ver prc end chk req pred bud msg fam cod evt rev rpt dep inv ivt fil"
for prefix in PREFIXES.split():
    register_converter(converter(prefix), prefix)

APPS = (
    "observability",
    "notifications",
    "accounts",
    "apikeys",
    "marketplace",
    "media",
    "reviews",
    "gateway",
    "analytics",
)
modules = [import_module(f"{app}.urls") for app in APPS]  # not before the converters that their paths name


urlpatterns = [
    path("", views.home, name="home"),
    path("search", search, name="search"),
    path("checklist", overview.put_away, name="checklist"),
    path("theme/<str:value>", views.theme, name="theme"),
    path("settings/preferences", preferences.preferences, name="preferences"),
    path("_components/", styleguide.components, name="components"),
    *(pattern for module in modules for pattern in module.pages),
    path("", include(([pattern for module in modules for pattern in module.api], "api"))),
    # allauth's, without the addresses that it once had.
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/3rdparty/", include("allauth.socialaccount.urls")),
    path("accounts/", include("allauth.socialaccount.providers.openid_connect.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "observability.views.bad_request"
handler403 = "observability.views.forbidden"
handler404 = "observability.views.not_found"
handler429 = "observability.views.too_many_requests"  # allauth's name for it
handler500 = "observability.views.server_error"
