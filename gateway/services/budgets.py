"""Why a budget refused, in words and numbers."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.conf import settings

from accounts.models import Budget
from common.ids import encode
from common.money import amount, display
from common.problems import Problem
from gateway.errors import InsufficientCredit, SpendLimitReached


def refusal(budget: Budget, needed_nano: int) -> Problem:
    """The 402 for a call that may cost `needed_nano` and did not fit into this budget."""
    numbers: dict[str, Any] = {
        "limit_source": "credit" if budget.purpose == Budget.Purpose.CREDIT else budget.subject_kind,
        "limit": amount(budget.limit),
        "used": amount(budget.spent),
        "held": amount(budget.held),
        "needed": amount(needed_nano),
        "resets_at": budget.ends_at and budget.ends_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    currency = settings.CURRENCY
    used = f"{display(budget.spent, currency)} of {display(budget.limit, currency)} are spent"
    held = f" and {display(budget.held, currency)} are held by calls under way" if budget.held else ""
    detail = f"This call may cost {display(needed_nano, currency)}; {used}{held}."
    is_deployments = budget.subject_kind == Budget.SubjectKind.DEPLOYMENT
    if budget.purpose == Budget.Purpose.CREDIT:
        return InsufficientCredit(detail, **numbers, fix_url=f"{settings.SITE_URL}/usage")
    where = f"/api/deployments/{encode('dep', budget.subject_id)}" if is_deployments else "/keys"
    return SpendLimitReached(detail, **numbers, fix_url=f"{settings.SITE_URL}{where}")
