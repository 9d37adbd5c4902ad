"""The versions of a listing."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import PageQuery, page_response
from marketplace import services
from marketplace.api.base import REF, OneModel
from marketplace.errors import VersionNotHigher, WrongStatus
from marketplace.serializers import VersionIn, VersionOut, version_out


class Versions(OneModel):
    problems = (WrongStatus, VersionNotHigher)
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_versions", parameters=[REF], responses=VersionOut(many=True))
    def get(self, request: Request, ref: str) -> Response:
        """The versions, the newest first; unpublished ones are shown to the publisher."""
        ai_model = self.find(ref)
        organization = self.actor.organization
        versions = ai_model.versions.visible_to(organization)
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
