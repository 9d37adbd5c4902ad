"""/api/saved: what the person who asks wants to find again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import PageQuery, page_response
from common.rest import APIView, Nothing
from marketplace import services
from marketplace.api.base import REF, OneModel
from marketplace.errors import TooManySaved
from marketplace.models import AIModel, SavedModel
from marketplace.serializers import AIModelOut, model_out


class SavedModels(APIView):
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_saved_models", responses=AIModelOut(many=True))
    def get(self, request: Request) -> Response:
        """The models that you saved, the latest first; those that you may no longer see are left out."""
        seen = AIModel.objects.visible_to(self.actor.organization)
        rows = SavedModel.objects.filter(user=self.actor.user, ai_model__in=seen)
        return page_response(self, rows, order=["-id"], serialize=_models)


class OneSaved(OneModel):
    problems = (TooManySaved,)

    @extend_schema(operation_id="save_model", parameters=[REF], request=None, responses={204: None})
    def put(self, request: Request, ref: str) -> Response:
        """Put the model on your list. It says nothing of who saved it."""
        ai_model = self.find(ref)
        self.read(Nothing)
        services.save_model(ai_model=ai_model, user=self.actor.user)
        return Response(status=204)

    @extend_schema(operation_id="unsave_model", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str) -> Response:
        services.unsave_model(ai_model=self.find(ref), user=self.actor.user)
        return Response(status=204)


def _models(rows: Sequence[SavedModel]) -> list[dict[str, Any]]:
    return [model_out(ai_model) for ai_model in AIModel.objects.in_order([row.ai_model_id for row in rows])]
