"""Mails to those who rely on a model by a deployment of their own."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q

from accounts.models import Membership, roles_with
from common import clock
from gateway.models import Deployment
from marketplace.models import AIModel
from marketplace.services import tell

LOOKS_BACK = timedelta(days=2)  # so that a lost night costs nobody their warning


def warn_deployers() -> int:
    """Tell whoever may change a live deployment that its model, or its fallback, was deprecated; once for each model
    and date. Returns how many models were looked at."""
    since = clock.now() - LOOKS_BACK
    models = AIModel.objects.filter(status=AIModel.Status.DEPRECATED, updated_at__gt=since).select_related("publisher")
    found = 0
    for ai_model in models.order_by("pk").iterator():
        found += 1
        live = Deployment.objects.live().filter(Q(ai_model=ai_model) | Q(fallback=ai_model))
        roles = roles_with("deployments.change")
        places = Membership.objects.filter(organization__in=live.values("organization"), role__in=roles)
        people = {place.user for place in places.select_related("user") if place.user.is_active}
        day = ai_model.sunset_on.isoformat() if ai_model.sunset_on else ""
        tell(people=people, ai_model=ai_model, kind="deprecated", once=day, sunset_on=day)
    return found
