"""The life of a listing: asked for, published, on its way out."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.problems import SecondFactorStale
from common.rest import Nothing
from marketplace import services
from marketplace.api.base import REF, OneModel
from marketplace.errors import NotReadyToPublish, WrongStatus
from marketplace.serializers import AIModelOut, DeprecationIn, model_out


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
