"""Every address. Each app's `urls.py` has two lists of whole paths: `pages`, and `api` (named `api:…`)."""

from importlib import import_module
from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path, register_converter

from common.ids import converter
from config import views

for prefix in (
    "usr",
    "org",
    "mbr",
    "key",
    "mdl",
    "ver",
    "prc",
    "end",
    "req",
    "bud",
    "msg",
    "fam",
    "cod",
    "evt",
    "rev",
    "dep",
    "inv",
):
    register_converter(converter(prefix), prefix)

APPS = ("observability", "notifications", "accounts", "apikeys", "marketplace", "billing", "gateway", "analytics")
modules = [import_module(f"{app}.urls") for app in APPS if find_spec(f"{app}.urls")]

urlpatterns = [
    path("", views.home, name="home"),
    path("theme/<str:value>", views.theme, name="theme"),
    path("_components/", views.components, name="components"),
    *(pattern for module in modules for pattern in module.pages),
    path("", include(([pattern for module in modules for pattern in module.api], "api"))),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "observability.views.bad_request"
handler403 = "observability.views.forbidden"
handler404 = "observability.views.not_found"
handler500 = "observability.views.server_error"
