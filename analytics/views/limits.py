"""What may still be spent: the rows that the gateway enforces, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from accounts.models import Budget
from accounts.services import current_budgets
from common.money import display


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget with the line under its meter."""

    budget: Budget
    words: str


def limits_of(subjects: Sequence[UUID], *, key_name: str = "") -> list[Limit]:
    """Every budget that a call of these subjects must fit into, the one with the least left first."""
    budgets = sorted(current_budgets(subjects), key=lambda budget: (budget.left, budget.limit))
    return [Limit(budget, budget_words(budget, key_name)) for budget in budgets]


def budget_words(budget: Budget, key_name: str = "") -> str:
    """“$17.50 of $50.00 spend limit this month, 35% used, resets 1 Dec 2026”."""
    words = [_("%(used)s of %(limit)s %(name)s") % {**_numbers(budget), "name": _name(budget, key_name)}]
    if not budget.limit:
        words.append(_("requests that cost are refused"))
    else:
        words.append(_("%(percent)s%% used") % {"percent": budget.spent * 100 // budget.limit})
    if budget.held:
        words.append(_("%(held)s held by requests under way") % _numbers(budget))
    if budget.ends_at is not None:
        at = budget.ends_at.astimezone(ZoneInfo(budget.time_zone))
        words.append(_("resets %(day)s") % {"day": date_format(at, "j M Y")})
    return ", ".join(words)


def _numbers(budget: Budget) -> dict[str, str]:
    amounts = {"used": budget.spent, "limit": budget.limit, "held": budget.held}
    return {name: display(nano, settings.CURRENCY) for name, nano in amounts.items()}


def _name(budget: Budget, key_name: str) -> str:
    if budget.purpose == Budget.Purpose.CREDIT:
        return _("credit")
    windows = {
        Budget.Window.DAY: pgettext("spend limit", "today"),
        Budget.Window.WEEK: pgettext("spend limit", "this week"),
        Budget.Window.MONTH: pgettext("spend limit", "this month"),
        Budget.Window.LIFETIME: pgettext("spend limit", "in all"),
    }
    window = windows[Budget.Window(budget.window)]
    if budget.subject_kind == Budget.SubjectKind.KEY:
        return _("limit of the key “%(key)s” %(window)s") % {"key": key_name, "window": window}
    return _("spend limit %(window)s") % {"window": window}
