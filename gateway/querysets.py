"""Reads of endpoints, deployments and calls."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import models
from django.db.models import Q

from common.clock import ClockNow
from common.ids import first_uuid

if TYPE_CHECKING:
    from accounts.models import Organization, User
    from common.policy import Actor


class EndpointQuerySet(models.QuerySet):
    def of_model(self, ai_model_id: UUID) -> EndpointQuerySet:
        """The model's endpoints, the one in force first: a new version keeps the endpoint of the one before it."""
        return self.filter(version__ai_model_id=ai_model_id).order_by("-version_id")

    def in_force(self) -> EndpointQuerySet:
        """The one that calls go to now, of each model."""
        return self.order_by("version__ai_model", "-version_id").distinct("version__ai_model")


class ContractCheckQuerySet(models.QuerySet):
    def live(self) -> ContractCheckQuerySet:
        """Those that have not ended."""
        return self.filter(status__in=["queued", "running"])

    def waiting(self, left_behind: datetime) -> ContractCheckQuerySet:
        """What a worker may take: queued, or begun before `left_behind` and never ended; the oldest first."""
        return self.filter(Q(status="queued") | Q(status="running", started_at__lt=left_behind)).order_by("id")


class DeploymentQuerySet(models.QuerySet):
    def live(self) -> DeploymentQuerySet:
        """Those that were not deleted."""
        return self.filter(deleted_at=None)

    def pinned_to(self, ai_model_id: UUID) -> DeploymentQuerySet:
        """The live ones that stay at a version of this model, by name."""
        return self.live().filter(ai_model=ai_model_id, version__isnull=False).order_by("name")

    def for_actor(self, actor: Actor) -> DeploymentQuerySet:
        """The live ones of the organization that is acted for; those of others do not exist."""
        return self.live().filter(organization=actor.organization)


class InvocationQuerySet(models.QuerySet):
    def of_organization(self, organization: Organization) -> InvocationQuerySet:
        return self.filter(organization=organization)

    def during(self, start: datetime, end: datetime) -> InvocationQuerySet:
        """Calls that began in `[start, end)`; by id, so that only the days asked for are read."""
        return self.filter(id__gte=first_uuid(start), id__lt=first_uuid(end))

    def tried_by(
        self, user: User, organization: Organization, ai_model_id: UUID, *, since: datetime
    ) -> InvocationQuerySet:
        """What a person tried of a model on its page, newest first: the calls without a key."""
        own = self.filter(user=user, ai_model=ai_model_id, organization=organization, api_key__isnull=True)
        return own.filter(id__gte=first_uuid(since)).order_by("-id")

    def final(self) -> InvocationQuerySet:
        return self.filter(state="final")


class PredictionQuerySet(models.QuerySet):
    def live(self) -> PredictionQuerySet:
        """Those that wait or run."""
        return self.filter(status__in=["queued", "running"])

    def kept(self) -> PredictionQuerySet:
        """Those whose content is still there."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=ClockNow()))

    def expired(self) -> PredictionQuerySet:
        return self.filter(expires_at__lte=ClockNow())

    def late(self) -> PredictionQuerySet:
        """Still in line, though the time in which they were wanted is over."""
        return self.filter(status="queued", deadline_at__lte=ClockNow())

    def lost(self) -> PredictionQuerySet:
        """Running, says the row, but the process that had them is silent."""
        return self.filter(status="running", lease_ends_at__lte=ClockNow())
