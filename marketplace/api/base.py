"""What the endpoints share: finding the model that an address names, and answers that a client may have already."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from common.rest import APIView
from marketplace import services
from marketplace.models import AIModel
from marketplace.serializers import model_out

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


class OneModel(APIView):
    """The base of what is done with one model."""

    def find(self, ref: str) -> AIModel:
        return services.find_model(ref, organization=self.actor.organization, sees_all=self.actor.may(services.SEE_ALL))

    def find_own(self, ref: str) -> AIModel:
        ai_model = self.find(ref)
        services.require_publisher(ai_model=ai_model, organization=self.actor.organization)
        return ai_model


def shown(ai_model: AIModel) -> dict[str, Any]:
    return model_out(AIModel.objects.detailed().get(pk=ai_model.pk))
