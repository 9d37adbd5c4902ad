"""What every page is given beside its own context."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.models import Membership
from common.policy import actor_of
from common.problems import Problem

THEMES = ("light", "dark")
CODE_LANGUAGES = ("curl", "python", "node")
LISTED_ORGANIZATIONS = 10  # in the menu; the rest is reached by the API


def site(request: HttpRequest) -> dict[str, Any]:
    """The name and address of this instance, and what the visitor chose by cookie. Asks no database, but for
    `organizations` where a template uses them."""
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
        "organizations": partial(organizations, request),
    }


def organizations(request: HttpRequest) -> list[dict[str, Any]]:
    """Those of a person who signed in, to switch between: `id`, `name`, and whether it is the `current` one."""
    if not request.user.is_authenticated:
        return []
    try:
        active = actor_of(request).organization
    except Problem:  # a header that names none of theirs; the answer says so
        return []
    places = Membership.objects.of_user(request.user)[:LISTED_ORGANIZATIONS]
    found = [place.organization for place in places]
    if active not in found:
        found.append(active)
    return [{"id": one.public_id, "name": one.name, "current": one == active} for one in found]
