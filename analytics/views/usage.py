"""The usage page: spend, calls, tokens, errors and latency, each number from the calls themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from accounts.models import Organization
from analytics.forms import CUSTOM, Address, Span, read_selection, read_span
from analytics.querysets import (
    ERROR,
    PLAYGROUND,
    Selection,
    by_column,
    by_model_and_time,
    latency,
    listed,
    made,
    page_of,
    totals,
)
from analytics.serializers import csv_response, group_row, latency_row, model_row
from analytics.views.charts import METRICS, chart_of
from analytics.views.filters import key_names, key_options, model_names, parameters, range_links
from analytics.views.limits import limits_of
from analytics.views.tiles import compare, compare_errors, sparks, summed
from billing.services import ensure_account
from common import clock
from common.ids import encode
from common.policy import actor_of
from marketplace.models import MIN_SAMPLES

GROUPS = {
    "model": (gettext_lazy("By model"), gettext_lazy("Model"), ("ai_model_id",)),
    "key": (gettext_lazy("By key"), gettext_lazy("Key"), ("api_key_id",)),
    "status": (gettext_lazy("By status"), gettext_lazy("Status"), ("http_status", "error_code")),
}
COLUMNS = {
    "calls": gettext_lazy("Requests"),
    "input_tokens": gettext_lazy("Tokens in"),
    "output_tokens": gettext_lazy("Tokens out"),
    "p50": gettext_lazy("p50"),
    "errors": gettext_lazy("Errors"),
    "cost": gettext_lazy("Cost"),
}
DEFAULT_SORT = "-cost"
LATEST_CALLS = 5
SHOWN_ROWS = 100


@require_safe
def usage_page(request: HttpRequest) -> HttpResponse:
    """What the organization used in a period, against the limits that are enforced, and what it was used for."""
    organization = actor_of(request).organization
    ensure_account(organization)
    asked = request.GET
    span, dates = read_span(asked, now=clock.now(), zone=ZoneInfo(organization.time_zone))
    selection = read_selection({name: asked.get(name, "") for name in ("model", "key")})
    group = asked.get("by", "") if asked.get("by") in GROUPS else "model"
    metric = asked.get("metric", "") if asked.get("metric") in METRICS else "spend"
    sort = asked.get("sort", "") if asked.get("sort", "").lstrip("-") in (*COLUMNS, "name") else DEFAULT_SORT
    given = parameters(span, selection, dates)
    shown_as = {"by": (group, "model"), "metric": (metric, "spend"), "sort": (sort, DEFAULT_SORT)}
    ways = {name: value for name, (value, usual) in shown_as.items() if value != usual}
    page, log = Address(reverse("usage"), given | ways), Address(reverse("requests"), given)

    buckets = by_model_and_time(organization, span.period, Selection(key=selection.key))
    names = model_names(row["ai_model_id"] for row in buckets)
    keys = key_names(organization)
    chosen = [row for row in buckets if selection.model in (None, row["ai_model_id"])]
    rows = sorted_rows(table_rows(organization, span, selection, group, names, keys), sort)
    wanted = "" if dates.errors else asked.get("csv")
    if wanted == "table":
        return csv_response([group_row(row, group, span.period) for row in rows], f"usage-by-{group}.csv")
    slow = latency(organization, span.period, selection) if metric == "latency" else {}
    if wanted == "chart":
        if metric == "latency":
            lines = [latency_row(at, slow[at], span.period) for at in sorted(slow)]
        else:
            in_order = sorted(chosen, key=lambda row: (row["start"].astimezone(UTC), names.get(row["ai_model_id"], "")))
            lines = [model_row(row, names, span.period) for row in in_order]
        return csv_response(lines, f"usage-{metric}.csv")

    figures = summed(rows)
    before = totals(organization, span.before, selection)
    key_id = selection.key if isinstance(selection.key, UUID) else None
    key_name = keys.get(key_id, "") if key_id else ""
    limits = limits_of([organization.id, *([key_id] if key_name and key_id else [])], key_name=key_name)
    latest = page_of(listed(made(organization, span.period, selection)), size=LATEST_CALLS).calls
    context = {
        "page": page,
        "span": span,
        "dates": dates,
        "time_zone": organization.time_zone,
        "ranges": range_links(page, span, dates),
        "is_custom": span.range == CUSTOM or dates.is_bound,
        "models": menu(page, "model", _("All models"), {encode("mdl", id): name for id, name in names.items()}, asked),
        "keys": menu(page, "key", _("All keys"), key_options(keys), asked),
        "is_narrowed": selection != Selection(),
        "everything": page.link(model="", key=""),
        "hidden": page.hidden("range", "from", "to"),
        "figures": figures,
        "tokens": figures["input_tokens"] + figures["output_tokens"],
        "min_samples": MIN_SAMPLES,
        "compared": {
            "spend": compare(figures["cost_nano"], before["cost_nano"], span),
            "calls": compare(figures["calls"], before["calls"], span),
            "errors": compare_errors(figures, before, span),
        },
        "sparks": sparks(chosen, span),
        "log": log,
        "errors_href": log.link(status=ERROR),
        "limits": limits,
        "chart": chart_of(metric, chosen, slow, names, span, page),
        "tabs": [
            {
                "label": words[0],
                "href": page.link("table", by="" if name == "model" else name),
                "current": name == group,
            }
            for name, words in GROUPS.items()
        ],
        "heads": heads(page, group, sort),
        "rows": [linked(row, group, log) for row in rows[:SHOWN_ROWS]],
        "more_rows": max(len(rows) - SHOWN_ROWS, 0),
        "table_csv": page.link(csv="table"),
        "latest": latest,
        "has_demo_calls": any(row["is_made_up"] for row in chosen),
    }
    return render(request, "analytics/usage.html", context, status=422 if dates.errors else 200)


def menu(page: Address, name: str, everything: str, options: Mapping[str, str], asked: Any) -> dict[str, Any]:
    """A filter as a menu of links: all, or one of them."""
    chosen = page.parameters.get(name, "")
    items = [{"label": everything, "href": page.link(**{name: ""}), "current": not chosen}]
    items += [
        {"label": words, "href": page.link(**{name: value}), "current": value == chosen}
        for value, words in options.items()
    ]
    return {"label": options.get(chosen, chosen) if chosen else everything, "items": items, "is_on": bool(chosen)}


# --- The table ---


def table_rows(
    organization: Organization,
    span: Span,
    selection: Selection,
    group: str,
    names: Mapping[UUID, str],
    keys: Mapping[UUID, str],
) -> list[dict[str, Any]]:
    """Figures by model, key or status, each with the `name` that people read and `ref`, what a filter calls it."""
    rows = by_column(organization, span.period, selection, GROUPS[group][2])
    for row in rows:
        row["cost"] = row["cost_nano"]
        if group == "model":
            row["ref"] = encode("mdl", row["ai_model_id"])
            row["name"] = names.get(row["ai_model_id"], row["ref"])
        elif group == "key" and row["api_key_id"] is None:
            row["name"], row["ref"] = _("Playground (no key)"), PLAYGROUND
        elif group == "key":
            row["ref"] = encode("key", row["api_key_id"])
            row["name"] = keys.get(row["api_key_id"], row["ref"])
        else:
            row["ref"] = row["error_code"] or str(row["http_status"])
            row["name"] = " ".join(filter(None, [str(row["http_status"]), row["error_code"]]))
    return rows


def sorted_rows(rows: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """By a column, `-` for descending; what was not measured comes last either way, equals by name."""
    column, is_descending = sort.lstrip("-"), sort.startswith("-")
    rows = sorted(rows, key=lambda row: row["name"].casefold())
    if column == "errors":
        return sorted(rows, key=lambda row: row["errors"] / row["calls"], reverse=is_descending)
    measured = [row for row in rows if row[column] is not None]
    key = (lambda row: row["name"].casefold()) if column == "name" else (lambda row: row[column])
    return sorted(measured, key=key, reverse=is_descending) + [row for row in rows if row[column] is None]


def heads(page: Address, group: str, sort: str) -> list[dict[str, Any]]:
    """The heads of the columns; a click sorts by the largest first, names from A on, another click the other way."""
    found = []
    for column, words in {"name": GROUPS[group][1], **COLUMNS}.items():
        first, second = (column, f"-{column}") if column == "name" else (f"-{column}", column)
        to = second if sort == first else first
        found.append(
            {
                "label": words,
                "href": page.link("table", sort="" if to == DEFAULT_SORT else to),
                "sorted": {column: "ascending", f"-{column}": "descending"}.get(sort, ""),
                "numeric": column != "name",
            }
        )
    return found


def linked(row: dict[str, Any], group: str, log: Address) -> dict[str, Any]:
    """The row with the addresses of the calls behind its figures."""
    narrowed = log.link(**{group: row["ref"]})
    failed = narrowed if group == "status" else log.link(**{group: row["ref"], "status": ERROR})
    return {**row, "href": narrowed, "errors_href": failed if row["errors"] else ""}
