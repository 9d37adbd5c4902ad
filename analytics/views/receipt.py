"""The receipt of one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_safe

from accounts.models import Budget
from common.money import rate
from common.policy import actor_of
from common.problems import REGISTRY
from gateway.models import Invocation, Rule
from gateway.services.policy import RATED
from marketplace.services.pricing import cost_of

PER_MILLION = 1_000_000
CURL = 'curl %s/v1/requests/%s \\\n  -H "Authorization: Bearer $AGORAI_API_KEY"'


@require_safe
def request_page(request: HttpRequest, id: UUID) -> HttpResponse:
    """What one request was and why it cost what it cost. Somebody else's is not found, as one that never was."""
    organization = actor_of(request).organization
    calls = Invocation.objects.of_organization(organization).filter(pk=id)
    call = calls.select_related("publisher", "ai_model", "version", "price", "api_key").first()
    if call is None:
        raise Http404
    context = {
        "call": call,
        "name": f"{call.publisher.slug}/{call.ai_model.slug}",
        "is_listed": call.ai_model.has_page_for(organization.id),
        "is_running": call.state == Invocation.State.STARTED,
        "has_failed": (call.http_status or 0) >= 400,
        "problem": REGISTRY.get(call.error_code),
        "cost": cost_lines(call),
        "rest_ms": (call.latency_ms or 0) - (call.first_token_ms or 0),
        "held_at_first_nano": call.hold_nano - call.extended_nano,
        "returned_nano": call.hold_nano - call.cost_nano,
        "usage_source": SOURCES.get(call.rule) or SOURCES.get(call.usage_source),
        "budgets": [budget_name(one) for one in Budget.objects.filter(pk__in=call.budget_ids).order_by("purpose")],
        "curl": [{"label": "curl", "language": "bash", "source": CURL % (settings.SITE_URL, call.public_id)}],
    }
    template = "analytics/request.html"
    return render(request, f"{template}#receipt" if request.GET.get("part") == "receipt" else template, context)


def budget_name(budget: Budget) -> str:
    if budget.purpose == Budget.Purpose.CREDIT:
        return _("the organization's credit")
    if budget.subject_kind == Budget.SubjectKind.KEY:
        return _("the key's limit")
    return _("the organization's spend limit")


# --- Price lines ---


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt: quantity × rate = amount, in nano-units."""

    what: Any
    quantity: int
    rate_nano: int
    per: Any
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The lines, what they come to in one rounding, and how much of it was not charged."""

    lines: list[Line]
    due_nano: int
    not_charged_nano: int


def cost_lines(call: Invocation) -> Cost:
    """What the call's quantities come to at its price, whether charged or not."""
    price = call.price
    was_answered = call.rule in DELIVERED and not (call.rule == Rule.DEMO and (call.http_status or 0) >= 400)
    lines = []
    if price.per_call_nano is not None:
        calls = int(was_answered)
        lines.append(Line(_("Requests answered"), calls, price.per_call_nano, _("each"), calls * price.per_call_nano))
    for what, quantity, nano in (
        (_("Tokens in"), call.input_tokens, price.input_nano_per_million),
        (_("Tokens out"), call.output_tokens, price.output_nano_per_million),
    ):
        if nano is not None:
            lines.append(Line(what, quantity, nano, _("per million"), rate(quantity, nano, PER_MILLION)))
    due = cost_of(price, input_tokens=call.input_tokens, output_tokens=call.output_tokens) if was_answered else 0
    return Cost(lines, due, max(due - call.cost_nano, 0))


#: The rules under which something was delivered; under the others nothing is due.
DELIVERED = RATED | {Rule.FREE, Rule.TEST_MODE, Rule.DEMO}

#: Where the quantities come from.
SOURCES = {
    "orphan_confirmed": _lazy("Confirmed by the publisher, since the gateway stopped during the request"),
    "orphan_progress": _lazy("Noted by us while the request ran, before the gateway stopped"),
    "reported": _lazy("Reported by the upstream"),
    "counted": _lazy("Counted by us, since the upstream reported none"),
}
