"""The catalogue, and one listing of it: read, written, replaced, removed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.rest import APIView
from marketplace import services
from marketplace.api.base import REF, OneModel, conditional, shown
from marketplace.errors import VersionNotHigher, WrongStatus
from marketplace.models import AIModel
from marketplace.search import engine
from marketplace.serializers import AIModelIn, AIModelOut, AIModelsOut, SearchQuery, facets_out, model_out, query_of


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
        return Response(shown(ai_model), status=201)


class Model(OneModel):
    problems = (WrongStatus, VersionNotHigher)

    @extend_schema(operation_id="get_model", parameters=[REF], responses=AIModelOut)
    def get(self, request: Request, ref: str) -> HttpResponseBase:
        return conditional(request, model_out(self.find(ref)))

    @extend_schema(operation_id="replace_model", parameters=[REF], request=AIModelIn, responses=AIModelOut)
    def put(self, request: Request, ref: str) -> Response:
        """Replace what the listing says. Of a published model a changed `api_spec` needs a higher `version`."""
        ai_model = self.find_own(ref)
        return Response(shown(services.update_model(ai_model=ai_model, **self.read(AIModelIn))))

    @extend_schema(operation_id="delete_model", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str) -> Response:
        """Remove the listing. One that was published is archived: no new calls, and its receipts stay."""
        services.delete_model(ai_model=self.find_own(ref))
        return Response(status=204)
