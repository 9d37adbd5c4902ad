"""What owners and administrators see of their organization's logs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_safe

from common import clock
from common.ids import decode, encode
from common.pagination import paginate
from common.policy import actor_of
from observability.models import AuditEvent, RequestLog
from observability.services.reading import Names, names_in
from observability.services.words import OF_ORGANIZATIONS, Change, changes_of, target_of, words_of

PAGE_SIZE = 50
OFFERED = 200  # people, keys and addresses to choose from, at most
ROUTES_OF = 500  # the addresses of so many requests are offered
SPANS = {"24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
DEFAULT_SPAN = "24h"
STATUSES = {
    "ok": gettext_lazy("Answered"),
    "errors": gettext_lazy("All errors"),
    "4xx": gettext_lazy("Errors of the caller (4xx)"),
    "5xx": gettext_lazy("Errors of this site (5xx)"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """An event as the page shows it."""

    event: AuditEvent
    words: str
    person: str
    key: str
    target: tuple[str, str]
    changes: list[Change]


@require_safe
def audit_log(request: HttpRequest) -> HttpResponse:
    """Who did what in the organization, the newest first, by act and person."""
    organization = actor_of(request).organization
    action, person = request.GET.get("action", ""), _read_id("usr", request.GET.get("person"))
    events = AuditEvent.objects.of_organization(organization.pk)
    if action in OF_ORGANIZATIONS:
        events = events.filter(action=action)
    if person is not None:
        events = events.filter(actor_user_id=person)
    page = paginate(events, order=["-seq"], limit=PAGE_SIZE, cursor=request.GET.get("cursor"))
    names = _names(organization, page["data"])
    members = list(organization.members.order_by("name", "pk").values_list("pk", "name")[:OFFERED])
    given = {"action": action if action in OF_ORGANIZATIONS else "", "person": encode("usr", person) if person else ""}
    context = {
        "rows": [_row(event, names) for event in page["data"]],
        "actions": _options({name: str(words) for name, words in OF_ORGANIZATIONS.items()}, given["action"]),
        "people": _options({encode("usr", id): name for id, name in members}, given["person"]),
        "is_filtered": any(given.values()),
        **_links(given, page["next_cursor"], request),
    }
    return render(request, "observability/audit_log.html", context)


@require_safe
def api_log(request: HttpRequest) -> HttpResponse:
    """Every request of the organization's keys and people to the API, the newest first."""
    organization = actor_of(request).organization
    asked = request.GET
    span = asked.get("span", "") if asked.get("span") in SPANS else DEFAULT_SPAN
    key, route, status = _read_id("key", asked.get("key")), asked.get("route", "")[:60], asked.get("status", "")
    rows = RequestLog.objects.of_organization(organization.pk).since(clock.now() - SPANS[span])
    recent = rows.order_by("-id").values_list("route", flat=True)[:ROUTES_OF]
    routes = sorted({name for name in recent if name} | ({route} if route else set()))
    if key is not None:
        rows = rows.filter(actor_key_id=key)
    if route:
        rows = rows.filter(route=route)
    rows = _of_status(rows, status)
    page = paginate(rows, order=["-id"], limit=PAGE_SIZE, cursor=asked.get("cursor"))
    names = _names(organization, page["data"])
    keys = organization.api_keys.order_by("-id").values_list("pk", "name")[:OFFERED]
    given = {
        "span": "" if span == DEFAULT_SPAN else span,
        "key": encode("key", key) if key else "",
        "route": route,
        "status": status if status in STATUSES else "",
    }
    context = {
        "rows": [
            {"seen": row, "key": names.key(row.actor_key_id), "person": names.person(row.actor_user_id)}
            for row in page["data"]
        ],
        "keys": _options({encode("key", id): name for id, name in keys}, given["key"]),
        "routes": _options({name: name.removeprefix("api:") for name in routes}, route),
        "statuses": _options({name: str(words) for name, words in STATUSES.items()}, given["status"]),
        "spans": [
            {"label": words, "href": _address({**given, "span": name}), "current": name == span}
            for name, words in (("24h", _("24 h")), ("7d", _("7 d")), ("30d", _("30 d")))
        ],
        "span": given["span"],
        "kept": ngettext("%(count)d day", "%(count)d days", settings.REQUEST_LOG_DAYS)
        % {"count": settings.REQUEST_LOG_DAYS},
        "is_filtered": any(given[name] for name in ("key", "route", "status")),
        **_links(given, page["next_cursor"], request),
    }
    return render(request, "observability/api_log.html", context)


def _row(event: AuditEvent, names: Names) -> Row:
    return Row(
        event=event,
        words=words_of(event.action),
        person=names.person(event.actor_user_id),
        key=names.key(event.actor_key_id),
        target=target_of(event),
        changes=list(changes_of(event)),
    )


def _names(organization: Any, rows: Any) -> Names:
    return names_in(
        organization,
        user_ids=[row.actor_user_id for row in rows],
        key_ids=[row.actor_key_id for row in rows],
    )


def _of_status(rows: Any, status: str) -> Any:
    """What failed has an index of its own, which each of these conditions implies."""
    match status:
        case "ok":
            return rows.filter(status__lt=400)
        case "errors":
            return rows.failed()
        case "4xx":
            return rows.failed().filter(status__lt=500)
        case "5xx":
            return rows.failed().filter(status__gte=500)
        case _:
            return rows


def _read_id(prefix: str, text: str | None) -> UUID | None:
    """None for what is no such id: a filter that finds nothing would hide that it was mistyped."""
    try:
        return decode(prefix, text or "")
    except ValueError:
        return None


def _options(words: dict[str, str], chosen: str) -> list[dict[str, Any]]:
    """The options of a select; a choice that is not offered stands under its own name."""
    known = words if not chosen or chosen in words else {**words, chosen: chosen}
    return [{"value": value, "label": label, "chosen": value == chosen} for value, label in known.items()]


def _links(given: dict[str, str], cursor: str | None, request: HttpRequest) -> dict[str, str]:
    """`newest` when this is a later page, `older` when there are more."""
    return {
        "newest": _address(given) if request.GET.get("cursor") else "",
        "older": _address({**given, "cursor": cursor}) if cursor else "",
    }


def _address(parameters: dict[str, str]) -> str:
    kept = {name: value for name, value in parameters.items() if value}
    return f"?{urlencode(kept)}" if kept else "?"
