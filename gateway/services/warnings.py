"""Mails to those who rely on a model by a deployment of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.urls import reverse

from accounts.models import Membership, User, roles_with
from common import clock
from gateway.models import Deployment
from marketplace.models import AIModel, ModelVersion
from marketplace.services import tell, today

LOOKS_BACK = timedelta(days=2)  # so that a lost night costs nobody their warning
LAST_WARNING = timedelta(days=7)  # before the day, to whoever is still pinned


def warn_deployers() -> int:
    """Tell whoever may change a live deployment that its model, or its fallback, was deprecated; once for each model
    and date. Returns how many models were looked at."""
    since = clock.now() - LOOKS_BACK
    models = AIModel.objects.filter(status=AIModel.Status.DEPRECATED, updated_at__gt=since).select_related("publisher")
    found = 0
    for ai_model in models.order_by("pk").iterator():
        found += 1
        live = Deployment.objects.live().filter(Q(ai_model=ai_model) | Q(fallback=ai_model))
        day = ai_model.sunset_on.isoformat() if ai_model.sunset_on else ""
        people = _people_of(live.values_list("organization", flat=True).distinct())
        tell(people=people, ai_model=ai_model, kind="deprecated", once=day, sunset_on=day)
    return found


def warn_pinned() -> int:
    """Tell whoever may change a deployment that the version it is pinned to ends: when that is announced, and once more
    in the last week. One mail for each organization and person. Returns how many versions were looked at."""
    day, since = today(), clock.now() - LOOKS_BACK
    announced = Q(sunset_announced_at__gt=since) | Q(sunset_on__lte=day + LAST_WARNING)
    versions = ModelVersion.objects.filter(announced, sunset_on__gt=day).select_related("ai_model__publisher")
    found = 0
    for version in versions.order_by("pk").iterator():
        found += 1
        address = reverse("model-versions-page", args=[version.ai_model.publisher.slug, version.ai_model.slug])
        assert version.sunset_on is not None
        moment = "last" if version.sunset_on <= day + LAST_WARNING else "first"
        names: dict[UUID, list[str]] = defaultdict(list)
        for pinned in Deployment.objects.pinned_to(version.ai_model_id).filter(version=version):
            names[pinned.organization_id].append(pinned.name)
        for organization_id, own in names.items():
            tell(
                people=_people_of([organization_id]),
                ai_model=version.ai_model,
                kind="version_ends",
                once=f"{version.pk}:{version.sunset_on}:{moment}:{organization_id}",
                version=version.version,
                sunset_on=version.sunset_on.isoformat(),
                deployments=", ".join(own),
                deployments_url=f"{settings.SITE_URL}{reverse('deployments')}",
                versions_url=f"{settings.SITE_URL}{address}",
            )
    return found


def _people_of(organizations: Iterable[UUID]) -> list[User]:
    """Whoever may change deployments there, each once."""
    places = Membership.objects.filter(organization__in=organizations, role__in=roles_with("deployments.change"))
    return list({place.user: None for place in places.select_related("user").order_by("pk") if place.user.is_active})
