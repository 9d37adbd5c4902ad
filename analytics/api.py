"""Figures over the API: JSON, or CSV with the same rows."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from analytics.querysets import totals, usage
from analytics.serializers import UsageQuery, bucket_out, csv_response, csv_row, read_period
from common import clock
from common.rest import APIView, Negotiation


class CSVNegotiation(Negotiation):
    """`Accept: text/csv` asks for CSV, which the view writes itself."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        if "text/csv" in request.headers.get("Accept", ""):
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)


class Usage(APIView):
    """What the organization's calls added up to, from settled calls."""

    query = UsageQuery
    content_negotiation_class = CSVNegotiation

    @extend_schema(parameters=[UsageQuery], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response | HttpResponse:
        organization = self.actor.organization
        period = read_period(self.params, zone_name=organization.time_zone, now=clock.now())
        rows = usage(organization, period, self.params.get("group_by", ()))
        wanted = self.params.get("format") or ("csv" if "text/csv" in request.headers.get("Accept", "") else "json")
        if wanted == "csv":
            return csv_response([csv_row(row) for row in rows], "usage.csv")
        return Response(
            {
                "from": period.start.astimezone(period.zone).isoformat(),
                "to": period.end.astimezone(period.zone).isoformat(),
                "tz": period.zone.key,
                "granularity": period.granularity,
                "buckets": [bucket_out(row) for row in rows],
                "totals": bucket_out(dict(totals(organization, period))),
            }
        )
