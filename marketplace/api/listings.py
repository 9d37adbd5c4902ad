"""The catalogue, and one listing of it: read, written, replaced, removed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.db import transaction
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.problems import PreconditionFailed
from common.rest import APIView
from marketplace import services
from marketplace.api.base import IF_MATCH, IF_NONE_MATCH, REF, OneModel, conditional, show, shown_models
from marketplace.errors import VersionNotHigher, WrongStatus
from marketplace.models import AIModel
from marketplace.search import engine
from marketplace.serializers import AIModelIn, AIModelOut, AIModelsOut, SearchQuery, facets_out, model_out, query_of


class Models(APIView):
    query = {"GET": SearchQuery}

    @extend_schema(operation_id="list_models", parameters=[SearchQuery, IF_NONE_MATCH], responses=AIModelsOut)
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
        body: dict[str, Any] = {
            "data": [msgspec.Raw(shown.body) for shown in shown_models(found.ids, organization=organization)],
            "has_more": found.next_cursor is not None,
            "next_cursor": found.next_cursor,
        }
        if params["facets"]:
            body["facets"] = facets_out(found.facets)
        response = conditional(request, msgspec.json.encode(body))
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
        return Response(model_out(AIModel.objects.detailed().get(pk=ai_model.pk)), status=201)


class Model(OneModel):
    problems = (WrongStatus, VersionNotHigher, PreconditionFailed)

    @extend_schema(operation_id="get_model", parameters=[REF, IF_NONE_MATCH], responses=AIModelOut)
    def get(self, request: Request, ref: str) -> HttpResponseBase:
        shown = self.shown(ref)
        return conditional(request, shown.body, shown.etag)

    @extend_schema(operation_id="replace_model", parameters=[REF, IF_MATCH], request=AIModelIn, responses=AIModelOut)
    def put(self, request: Request, ref: str) -> HttpResponseBase:
        """Replace what the listing says. Of a published model a changed `api_spec` needs a higher `version`.

        With `If-Match` only if nobody else has replaced it since you read it.
        """
        ai_model = self.find_own(ref)
        values = self.read(AIModelIn)
        with transaction.atomic():
            self.require_match(ai_model)
            services.update_model(ai_model=ai_model, **values)
            shown = show(AIModel.objects.detailed().get(pk=ai_model.pk))
        return HttpResponse(shown.body, content_type="application/json", headers={"ETag": f'"{shown.etag}"'})

    @extend_schema(operation_id="delete_model", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str) -> Response:
        """Remove the listing. One that was published is archived: no new calls, and its receipts stay."""
        services.delete_model(ai_model=self.find_own(ref))
        return Response(status=204)
