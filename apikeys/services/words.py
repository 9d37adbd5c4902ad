"""Keys in words, as the pages show them: whether one works, what it may, what limits it, what it can cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apikeys.models import APIKey
from apikeys.services.limits import EffectiveLimit, Limit
from common.money import display
from common.spending import SpendLimit

WINDOWS = {
    "day": gettext_lazy("today"),
    "week": gettext_lazy("this week"),
    "month": gettext_lazy("this month"),
    "lifetime": gettext_lazy("in all"),
}
EACH = {
    "day": gettext_lazy("a day"),
    "week": gettext_lazy("a week"),
    "month": gettext_lazy("a month"),
    "lifetime": gettext_lazy("in all"),
}
EVENT_WORDS = {
    "key.created": gettext_lazy("Made"),
    "key.changed": gettext_lazy("Changed"),
    "key.rotated": gettext_lazy("Rotated"),
    "key.revoked": gettext_lazy("Revoked"),
    "key.leaked": gettext_lazy("Found in public"),
}
LIMIT_WORDS = {
    "key": gettext_lazy("Spend limit of this key"),
    "deployment": gettext_lazy("Spend limit of the deployment"),
    "organization": gettext_lazy("Spend limit of the account"),
    "credit": gettext_lazy("Credit"),
}
RATE_WORDS = {
    "key": gettext_lazy("Calls with this key"),
    "deployment": gettext_lazy("Calls by the deployment’s name"),
    "organization": gettext_lazy("Calls with all keys"),
}
SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class State:
    """Whether a key works, in words. tone: of the badge."""

    label: str
    tone: str = ""
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Meter:
    """The meter of the limit that counts. Amounts are nano-units."""

    used: int
    limit: int
    text: str
    can_be_raised: bool  # it is the key's own, and used up


def state_of(found: APIKey, at: datetime) -> State:
    if found.revoked_at is not None:
        return State(_("Revoked"), "bad", is_over=True)
    if found.expires_at is None:
        return State(_("Never"))
    if found.expires_at <= at:
        return State(_("Expired"), "bad", is_over=True)
    if found.expires_at - at < SOON:
        days = (found.expires_at - at).days
        if not days:
            return State(_("Expires within a day"), "warn")
        words = ngettext("Expires in %(days)d day", "Expires in %(days)d days", days)
        return State(words % {"days": days}, "warn")
    return State(formats.date_format(timezone.localtime(found.expires_at), "j M Y"))


def access_words(found: APIKey) -> str:
    if "models:invoke" not in found.permissions:
        reads = all(permission.endswith(":read") for permission in found.permissions)
        return _("Read only") if reads else _("No calls")
    if number := len(found.allowed_models):
        return ngettext("%(number)d model", "%(number)d models", number) % {"number": number}
    return _("All models")


def promise_of(made: APIKey, limit: SpendLimit | None) -> str:
    """What a new key can cost at most, in a sentence."""
    if made.mode == APIKey.Mode.TEST:
        return _("Calls with a test key are never charged.")
    if limit is None:
        return _("It has no spend limit of its own: the limits of your account alone count.")
    values = {"limit": display(limit.limit_nano, settings.CURRENCY), "each": EACH[limit.window]}
    return _("Requests stop at %(limit)s %(each)s. You are never charged more.") % values


def meter_of(limit: EffectiveLimit | None) -> Meter | None:
    """The meter of a limit: used, limit, and the words under it, which name whose limit it is."""
    if limit is None:
        return None
    is_reached = limit.used_nano >= limit.limit_nano
    values = {
        "used": display(limit.used_nano, settings.CURRENCY),
        "limit": display(limit.limit_nano, settings.CURRENCY),
        "window": WINDOWS[limit.window],
        "own": "" if limit.own_nano is None else display(limit.own_nano, settings.CURRENCY),
    }
    if limit.source == "key":
        text = _("%(used)s of %(limit)s key limit %(window)s")
    elif limit.source == "credit" and is_reached:
        text = _("No credit left: %(used)s of %(limit)s spent")
    elif limit.source == "credit" and limit.own_nano is None:
        text = _("No key limit. Credit: %(used)s of %(limit)s spent")
    elif limit.source == "credit":
        text = _("Tighter than the key limit of %(own)s: credit, %(used)s of %(limit)s spent")
    elif limit.own_nano is None:
        text = _("No key limit. Account: %(used)s of %(limit)s %(window)s")
    else:
        text = _("Tighter than the key limit of %(own)s: account, %(used)s of %(limit)s %(window)s")
    text = text % values
    if is_reached and limit.resets_at is not None:
        local = timezone.localtime(limit.resets_at)
        is_midnight = not (local.hour or local.minute)
        end = formats.date_format(local, "j M Y" if is_midnight else "j M Y, H:i")
        text = _("%(text)s: blocked until %(end)s") % {"text": text, "end": end}
    return Meter(limit.used_nano, limit.limit_nano, text, can_be_raised=is_reached and limit.source == "key")


def limit_row(limit: Limit) -> dict[str, Any]:
    """One line of the table of limits."""
    if limit.is_money:
        words = LIMIT_WORDS[limit.source]
        values = {
            "used": display(limit.used + limit.held, settings.CURRENCY),
            "limit": display(limit.limit, settings.CURRENCY),
            "window": WINDOWS[limit.window],
        }
        text = _("%(used)s of %(limit)s %(window)s") % values
    else:
        words = RATE_WORDS[limit.source]
        text = _("%(used)s of %(limit)s a minute") % {"used": f"{limit.used:,}", "limit": f"{limit.limit:,}"}
    resets = _("never")
    if limit.kind == "rate":
        resets = _("refills by itself")
    elif limit.resets_at is not None:
        resets = formats.date_format(timezone.localtime(limit.resets_at), "j M Y, H:i")
    return {
        "words": words,
        "used": limit.used + limit.held,
        "limit": limit.limit,
        "text": text,
        "resets": resets,
        "is_tightest": limit.is_tightest,
    }
