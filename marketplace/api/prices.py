"""The prices of a listing: what was, is and will be asked."""

from __future__ import annotations

from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import PageQuery, page_response
from marketplace import services
from marketplace.api.base import REF, OneModel
from marketplace.errors import WrongStatus
from marketplace.serializers import PriceIn, PriceOut, price_out


class Prices(OneModel):
    problems = (WrongStatus,)
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_prices", parameters=[REF], responses=PriceOut(many=True))
    def get(self, request: Request, ref: str) -> Response:
        """All there were and will be, the latest first. Calls are billed by the one in force when they begin."""
        return page_response(
            self,
            self.find(ref).prices.history(),
            order=["-effective_from", "-id"],
            serialize=lambda rows: [price_out(row) for row in rows],
        )

    @extend_schema(operation_id="set_price", parameters=[REF], request=PriceIn, responses={201: PriceOut})
    def post(self, request: Request, ref: str) -> Response:
        """A new price, from now or from a later instant on. Calls under way keep theirs."""
        ai_model = self.find_own(ref)
        made = services.set_price(ai_model=ai_model, **self.read(PriceIn))
        return Response(price_out(ai_model.prices.history().get(pk=made.pk)), status=201)


class OnePrice(OneModel):
    @extend_schema(operation_id="withdraw_price", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str, id: UUID) -> Response:
        """Take back a price that is announced. What is in force, or was, stays."""
        ai_model = self.find_own(ref)
        services.withdraw_price(price=get_object_or_404(ai_model.prices, pk=id))
        return Response(status=204)
