"""/api/models: the catalogue, and the listings of the organization that acts."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import PageQuery, page_response
from common.problems import SecondFactorStale
from common.rest import APIView, Nothing
from marketplace import services
from marketplace.errors import NotReadyToPublish, VersionNotHigher, WrongStatus
from marketplace.models import AIModel
from marketplace.search import engine
from marketplace.serializers import (
    AIModelIn,
    AIModelOut,
    AIModelsOut,
    DeprecationIn,
    SearchQuery,
    VersionIn,
    VersionOut,
    facets_out,
    model_out,
    query_of,
    version_out,
)

REF = OpenApiParameter("ref", str, OpenApiParameter.PATH, description="`mdl_…` or `publisher:slug`")


def conditional(request: Request, body: Any) -> HttpResponse:
    """`body` as JSON with its ETag, or 304 for a client that has it."""
    content = msgspec.json.encode(body)
    etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    is_known = "*" in known or etag in (tag.removeprefix("W/") for tag in known)
    response = HttpResponse(status=304) if is_known else HttpResponse(content, content_type="application/json")
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Authorization", "Cookie", "X-API-Key", "Agorai-Organization"])
    return response


class Models(APIView):
    query = {"GET": SearchQuery}

    @extend_schema(operation_id="list_models", parameters=[SearchQuery], responses=AIModelsOut)
    def get(self, request: Request) -> HttpResponseBase:
        """The catalogue. With `publisher` set to your own organization, its unpublished models too."""
        organization = self.actor.organization
        params = self.params
        found = engine().find(
            query_of(params, own_slug=organization.slug if organization else ""),
            limit=params["limit"],
            cursor=params.get("cursor"),
            facets=params["facets"],
        )
        rows = AIModel.objects.in_order(found.ids)
        body: dict[str, Any] = {
            "data": [model_out(row) for row in rows],
            "has_more": found.next_cursor is not None,
            "next_cursor": found.next_cursor,
        }
        if params["facets"]:
            body["facets"] = facets_out(found.facets)
        response = conditional(request, body)
        if found.next_cursor is not None:
            kept = [(name, text) for name, texts in request.query_params.lists() for text in texts if name != "cursor"]
            query = urlencode([*kept, ("cursor", found.next_cursor)])
            response.headers["Link"] = f'<{settings.SITE_URL}{request.path}?{query}>; rel="next"'
        return response

    @extend_schema(operation_id="create_model", request=AIModelIn, responses={201: AIModelOut})
    def post(self, request: Request) -> Response:
        """List a model: a draft, which only your organization sees."""
        values = self.read(AIModelIn)
        ai_model = services.create_model(publisher=self.actor.organization, **values)
        return Response(_shown(ai_model), status=201)


class OneModel(APIView):
    """The base of what is done with one model."""

    def find(self, ref: str) -> AIModel:
        return services.find_model(ref, organization=self.actor.organization, sees_all=self.actor.may(services.SEE_ALL))

    def find_own(self, ref: str) -> AIModel:
        ai_model = self.find(ref)
        services.require_publisher(ai_model=ai_model, organization=self.actor.organization)
        return ai_model


class Model(OneModel):
    problems = (WrongStatus, VersionNotHigher)

    @extend_schema(operation_id="get_model", parameters=[REF], responses=AIModelOut)
    def get(self, request: Request, ref: str) -> HttpResponseBase:
        return conditional(request, model_out(self.find(ref)))

    @extend_schema(operation_id="replace_model", parameters=[REF], request=AIModelIn, responses=AIModelOut)
    def put(self, request: Request, ref: str) -> Response:
        """Replace what the listing says. Of a published model a changed `api_spec` needs a higher `version`."""
        ai_model = self.find_own(ref)
        return Response(_shown(services.update_model(ai_model=ai_model, **self.read(AIModelIn))))

    @extend_schema(operation_id="delete_model", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str) -> Response:
        """Remove the listing. One that was published is archived: no new calls, and its receipts stay."""
        services.delete_model(ai_model=self.find_own(ref))
        return Response(status=204)


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


class Submission(OneModel):
    problems = (WrongStatus, NotReadyToPublish)

    @extend_schema(operation_id="submit_model", parameters=[REF], request=None, responses=AIModelOut)
    def post(self, request: Request, ref: str) -> Response:
        """Ask for publication."""
        ai_model = self.find_own(ref)
        self.read(Nothing)
        return Response(model_out(services.submit(ai_model=ai_model)))


class Publication(OneModel):
    problems = (WrongStatus, NotReadyToPublish, SecondFactorStale)

    @extend_schema(operation_id="publish_model", parameters=[REF], request=None, responses=AIModelOut)
    def post(self, request: Request, ref: str) -> Response:
        """Open the model to everybody: staff, or its publisher where the site approves automatically."""
        by_staff = self.actor.may_act(services.MODERATE)
        ai_model = self.find(ref) if by_staff else self.find_own(ref)
        self.read(Nothing)
        return Response(model_out(services.publish(ai_model=ai_model, by_staff=by_staff)))


class Deprecation(OneModel):
    problems = (WrongStatus,)

    @extend_schema(operation_id="deprecate_model", parameters=[REF], request=DeprecationIn, responses=AIModelOut)
    def post(self, request: Request, ref: str) -> Response:
        """Tell callers to look for another model, and by mail whoever deployed it. Calls go on."""
        ai_model = self.find_own(ref)
        return Response(model_out(services.deprecate(ai_model=ai_model, **self.read(DeprecationIn))))


def _shown(ai_model: AIModel) -> dict[str, Any]:
    return model_out(AIModel.objects.detailed().get(pk=ai_model.pk))
