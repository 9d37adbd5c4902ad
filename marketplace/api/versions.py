"""The versions of a listing."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import PageQuery, page_response
from common.problems import NotFound
from marketplace import services
from marketplace.api.base import REF, OneModel
from marketplace.errors import VersionNotHigher, WrongStatus
from marketplace.models import AIModel, ModelVersion
from marketplace.querysets import VersionQuerySet
from marketplace.serializers import (
    ComparisonOut,
    SinceQuery,
    SunsetIn,
    VersionIn,
    VersionOut,
    comparison_out,
    version_out,
)


class OneVersion(OneModel):
    """The base of what is said of versions."""

    def versions_of(self, ai_model: AIModel) -> VersionQuerySet:
        """Published ones, and all to the publisher and to staff."""
        return ai_model.versions.visible_to(self.actor.organization, sees_all=self.actor.may(services.SEE_ALL))

    def version_of(self, ai_model: AIModel, number: str) -> ModelVersion:
        """Raises NotFound."""
        found: ModelVersion | None = self.versions_of(ai_model).filter(version=number).first()
        if found is None:
            raise NotFound()
        return found


class Versions(OneVersion):
    problems = (WrongStatus, VersionNotHigher)
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_versions", parameters=[REF], responses=VersionOut(many=True))
    def get(self, request: Request, ref: str) -> Response:
        """The versions, the newest first; unpublished ones are shown to the publisher."""
        ai_model = self.find(ref)
        versions = self.versions_of(ai_model)
        current_id = ai_model.current_version_id
        return page_response(
            self,
            versions,
            order=["-id"],
            serialize=lambda rows: [version_out(row, current_id=current_id) for row in rows],
        )

    @extend_schema(operation_id="add_version", parameters=[REF], request=VersionIn, responses={201: VersionOut})
    def post(self, request: Request, ref: str) -> Response:
        """A higher version, current from now on. The endpoint and the price stay."""
        ai_model = self.find_own(ref)
        version = services.add_version(ai_model=ai_model, **self.read(VersionIn))
        version.refresh_from_db(fields=["created_at"])
        return Response(version_out(version, current_id=version.id), status=201)


class Version(OneVersion):
    @extend_schema(operation_id="get_version", parameters=[REF], responses=VersionOut)
    def get(self, request: Request, ref: str, number: str) -> Response:
        """One version."""
        ai_model = self.find(ref)
        return Response(version_out(self.version_of(ai_model, number), current_id=ai_model.current_version_id))


class VersionChanges(OneVersion):
    query = {"GET": SinceQuery}

    @extend_schema(operation_id="compare_versions", parameters=[REF, SinceQuery], responses=ComparisonOut)
    def get(self, request: Request, ref: str, number: str) -> Response:
        """What changed since another version, the one before it by default, and what of it breaks callers."""
        ai_model, since = self.find(ref), self.params["since"]
        new = self.version_of(ai_model, number)
        if since:
            return Response(comparison_out(self.version_of(ai_model, since), new))
        old: ModelVersion | None = self.versions_of(ai_model).filter(pk__lt=new.pk).order_by("-pk").first()
        return Response(comparison_out(old, new))


class VersionSunset(OneVersion):
    @extend_schema(operation_id="set_version_sunset", parameters=[REF], request=SunsetIn, responses=VersionOut)
    def put(self, request: Request, ref: str, number: str) -> Response:
        """Say from which day on an older version may be gone. Whoever is pinned to it gets a mail; null: it stays."""
        ai_model = self.find_own(ref)
        found = services.set_version_sunset(ai_model=ai_model, version=number, **self.read(SunsetIn))
        return Response(version_out(found, current_id=ai_model.current_version_id))
