"""What error pages offer: models with a similar name, who can help, and when to try again."""

from datetime import datetime, timedelta

from django import template
from django.db import Error
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import Membership
from config.templatetags.site import path_words
from marketplace.models import AIModel
from marketplace.search import engine

register = template.Library()

NEAREST = 3


@register.simple_tag
def nearest_models(path: str) -> list[AIModel]:
    """Models that whoever came with this path may have meant; none for a file, which programs look for."""
    words = "" if "." in path.rpartition("/")[2] else path_words(path)
    try:
        return AIModel.objects.in_order(engine().nearest(words, limit=NEAREST)) if words else []
    except Error:  # the page is right without them, even while the database is away
        return []


@register.filter
def role_words(roles: str | list[str]) -> str:
    """["owner", "admin"] is "Owner or Admin", "member" is "Member"."""
    labels = dict(Membership.Role.choices)
    names = [roles] if isinstance(roles, str) else roles
    return str(get_text_list([str(labels.get(role, role)) for role in names], _("or")))


@register.filter
def wait_words(seconds: int) -> str:
    """How long to wait: "45 seconds", "5 minutes", "2 hours"; rounded up."""
    if seconds < 100:
        return ngettext("%(n)d second", "%(n)d seconds", seconds) % {"n": seconds}
    if (minutes := -(-seconds // 60)) < 100:
        return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}
    hours = -(-minutes // 60)
    return ngettext("%(n)d hour", "%(n)d hours", hours) % {"n": hours}


@register.filter
def from_now(seconds: int) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


@register.filter
def instant(text: str | None) -> datetime | None:
    """The instant of a problem's member such as `resets_at`."""
    return parse_datetime(text) if text else None
