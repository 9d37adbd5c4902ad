"""What every page is given beside its own context."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

THEMES = ("light", "dark")
CODE_LANGUAGES = ("curl", "python", "node")


def site(request: HttpRequest) -> dict[str, Any]:
    """The name and address of this instance, and what the visitor chose by cookie. Asks no database."""
    theme = request.COOKIES.get("theme", "")
    language = request.COOKIES.get("code", "")
    return {
        # Not `site_name` and `site_url`: other packages' views put their own there.
        "instance": {
            "name": settings.SITE_NAME,
            "url": settings.SITE_URL,
            "version": settings.VERSION,
            "support": settings.SUPPORT_EMAIL,
        },
        "currency": settings.CURRENCY,
        "theme": theme if theme in THEMES else "",
        "shortcuts": "off" if request.COOKIES.get("shortcuts") == "off" else "",
        "code_language": language if language in CODE_LANGUAGES else CODE_LANGUAGES[0],
    }
