"""What may be asked of the figures, and how they are shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.http import HttpResponse
from rest_framework import serializers

from analytics.querysets import DIMENSIONS, GRANULARITIES, Period
from common.ids import encode
from common.money import amount, money
from common.problems import InvalidParameter
from common.rest import CharField, Query

DEFAULT_DAYS = 30
MAX_DAYS = {"hour": 31, "day": 366, "month": 366 * 5, "total": 366 * 5}
FIGURES = ("calls", "errors", "input_tokens", "output_tokens")
GROUP_FIELDS = ("model_id", "model", "key_id", "key", "version", "status", "kind")


class UsageQuery(Query):
    """The period is half-open; a date stands for its midnight in the reporting time zone."""

    tz = CharField(required=False, max_length=64, help_text="IANA time zone; the organization's by default.")
    granularity = serializers.ChoiceField(choices=GRANULARITIES, default="day")
    group_by = serializers.ListField(child=serializers.ChoiceField(choices=sorted(DIMENSIONS)), required=False)
    format = serializers.ChoiceField(choices=["json", "csv"], required=False)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["from"] = CharField(required=False, max_length=40, help_text="Date or RFC 3339 instant.")
        fields["to"] = CharField(required=False, max_length=40, help_text="Exclusive. Now by default.")
        return fields

    def validate_tz(self, value: str) -> str:
        if value not in available_timezones():
            raise serializers.ValidationError("Give an IANA time zone such as Europe/Berlin.")
        return value


def read_period(params: dict[str, Any], *, zone_name: str, now: datetime) -> Period:
    """The period that `UsageQuery` describes. Raises InvalidParameter."""
    zone = ZoneInfo(params.get("tz") or zone_name)
    granularity = params["granularity"]
    end = read_instant("to", params.get("to"), zone) or now
    start = read_instant("from", params.get("from"), zone) or end - timedelta(days=DEFAULT_DAYS)
    if start >= end:
        raise _bad("from", "The period ends before it begins.")
    if end - start > timedelta(days=MAX_DAYS[granularity]):
        raise _bad("from", f"At most {MAX_DAYS[granularity]} days at this granularity.")
    return Period(start, end, zone, granularity)


def read_instant(name: str, text: str | None, zone: ZoneInfo) -> datetime | None:
    """A date or an RFC 3339 instant. Without an offset it is meant in the reporting time zone."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a `+` in a query arrives as a space
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone)
        if not 2000 <= found.astimezone(zone).year < 2200:
            raise ValueError
    except (ValueError, OverflowError):
        raise _bad(name, "Send a date such as 2026-11-30 or an instant such as 2026-11-30T23:00:00Z.") from None
    return found


def _bad(name: str, detail: str) -> InvalidParameter:
    return InvalidParameter(f"{name}: {detail}", errors=[{"pointer": f"/{name}", "code": "invalid", "detail": detail}])


def bucket_out(row: dict[str, Any]) -> dict[str, Any]:
    """One bucket as the API shows it, with the fields of its groups."""
    shown: dict[str, Any] = {}
    if "start" in row:
        shown["start"] = row["start"].isoformat()
    if "model_id" in row:
        shown["model_id"] = encode("mdl", row["model_id"])
    if "key_id" in row:
        shown["key_id"] = row["key_id"] and encode("key", row["key_id"])
    for name, source in (("model", "model"), ("key", "key"), ("version", "version_number"), ("status", "status")):
        if source in row:
            shown[name] = row[source]
    if "call_kind" in row:
        shown["kind"] = row["call_kind"]
    shown |= {name: row[name] for name in FIGURES}
    return shown | {"cost": money(row["cost_nano"], settings.CURRENCY)}


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """The same bucket, flat: cost as a decimal with its currency beside it, cells that spreadsheets do not execute."""
    shown = bucket_out(row)
    shown["cost"], shown["currency"] = amount(row["cost_nano"]), settings.CURRENCY
    return _plain(shown)


# --- The rows of the usage page as CSV ---


def group_row(row: Mapping[str, Any], group: str, period: Period) -> dict[str, Any]:
    """A row of the table: what was grouped by, the period, the figures."""
    if group == "model":
        who = {"model_id": row["ref"], "model": row["name"]}
    elif group == "key":
        who = {"key_id": row["api_key_id"] and row["ref"], "key": row["name"]}
    else:
        who = {"status": row["http_status"], "error_code": row["error_code"]}
    when = {"from": _local(period.start, period), "to": _local(period.end, period)}
    return _plain({**who, **when, **_figures(row), "p50_ms": row["p50"]})


def model_row(row: Mapping[str, Any], names: Mapping[UUID, str], period: Period) -> dict[str, Any]:
    """One model in one hour, day or month of a chart."""
    id = row["ai_model_id"]
    who = {"start": _local(row["start"], period), "model_id": encode("mdl", id), "model": names.get(id)}
    return _plain({**who, **_figures(row)})


def latency_row(start: datetime, row: Mapping[str, Any], period: Period) -> dict[str, Any]:
    """How long calls took in one hour, day or month; empty where too few were answered."""
    return {"start": _local(start, period), "answered": row["samples"], "p50_ms": row["p50"], "p95_ms": row["p95"]}


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in FIGURES}
    return shown | {"cost": amount(row["cost_nano"]), "currency": settings.CURRENCY}


def _local(at: datetime, period: Period) -> str:
    return at.astimezone(period.zone).isoformat(timespec="seconds")


def csv_response(rows: list[dict[str, Any]], name: str) -> HttpResponse:
    """The rows with a header line; an empty list is a file without lines."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_MINIMAL)
        writer.writeheader()
        writer.writerows(rows)
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_cell(value) for name, value in row.items()}


def _plain_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\0") else value
