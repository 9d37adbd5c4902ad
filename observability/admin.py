"""The logs for staff, read-only."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from common.ids import decode, encode
from common.staff import ChoiceFilter, DayFilter, ReadOnlyAdmin, id_column
from observability.models import AuditEvent, IdempotencyKey, RequestLog
from observability.services.words import ACTIONS


def json_column(column: str, description: Any) -> Any:
    """A column that shows what a JSON field holds, as it would be written by hand."""

    @admin.display(description=description)
    def shown(row: Any) -> str:
        value = getattr(row, column)
        if value is None:
            return "–"
        return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))

    return shown


class ActionFilter(ChoiceFilter):
    """What was done, each act in words; the table is not asked."""

    title = _("act")
    parameter_name = "action"
    values = tuple(ACTIONS.items())


class ActorFilter(admin.SimpleListFilter):
    """Who acted: a member of the staff by name, or the kind of actor. Anybody else is found by their id."""

    title = _("actor")
    parameter_name = "actor"
    KINDS = (("staff", _("The staff")), ("keys", _("API keys")), ("nobody", _("Nobody known")))
    SHOWN = 50  # of the staff

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        people = get_user_model()._default_manager.filter(is_staff=True).order_by("name", "pk")
        return [*self.KINDS, *((encode("usr", one.pk), one.get_full_name()) for one in people[: self.SHOWN])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        match self.value():
            case None:
                return queryset
            case "staff":
                people = get_user_model()._default_manager.filter(is_staff=True)
                return queryset.filter(actor_user_id__in=people.values("pk"))
            case "keys":
                return queryset.exclude(actor_key_id=None)
            case "nobody":
                return queryset.filter(actor_user_id=None)
            case text:
                try:
                    return queryset.filter(actor_user_id=decode("usr", str(text)))
                except ValueError:
                    return queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    typed_ids = {
        "evt": "pk",
        "usr": "actor_user_id",
        "key": "target_id",
        "org": "organization_id",
        "mdl": "target_id",
        "req": "request_id",
    }
    list_display = (
        "seq",
        "at",
        "action",
        id_column("usr", "actor_user_id", _("person")),
        id_column("org", "organization_id", _("organization")),
        "target_type",
        "address",
    )
    list_filter = (DayFilter, ActorFilter, ActionFilter)
    search_fields = ("=action",)
    search_help_text = _("An id such as usr_…, org_…, key_… or mdl_…, or an action such as key.revoked.")
    ordering = ("-seq",)
    fields = readonly_fields = (
        "seq",
        "at",
        "action",
        id_column("usr", "actor_user_id", _("person")),
        id_column("key", "actor_key_id", _("key")),
        id_column("org", "organization_id", _("organization")),
        id_column("usr", "subject_user_id", _("about")),
        "target_type",
        "target_id",
        json_column("before", _("before")),
        json_column("after", _("after")),
        "address",
        "client",
        id_column("req", "request_id", _("request")),
        "previous_hash",
        "hash",
    )


class AnswerFilter(ChoiceFilter):
    title = _("answer")
    parameter_name = "status__gte"
    values = (("400", _("Errors")), ("500", _("Errors of ours")))


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """One row per request to the API. Calls of models have a page of their own, under the same id."""

    typed_ids = {"req": "pk", "org": "organization_id", "usr": "actor_user_id", "key": "actor_key_id"}
    list_display = (
        id_column("req"),
        "at",
        "method",
        "route",
        "status",
        "error_code",
        "ms",
        id_column("org", "organization_id", _("organization")),
        "address",
    )
    list_filter = (DayFilter, AnswerFilter)
    search_fields = ("=route", "=error_code")
    search_help_text = _("An id such as req_…, org_…, usr_… or key_…, the name of a route, or an error code.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("req"),
        "at",
        "method",
        "route",
        "status",
        "error_code",
        "ms",
        id_column("usr", "actor_user_id", _("person")),
        id_column("key", "actor_key_id", _("key")),
        id_column("org", "organization_id", _("organization")),
        "address",
        "client",
    )


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Which requests hold an idempotency key. Neither the key nor the answer is shown: nobody here can read them."""

    typed_ids = {"req": "pk", "org": "organization_id"}
    list_display = (
        id_column("req"),
        "claimed_at",
        id_column("org", "organization_id", _("organization")),
        id_column("req", "call_id", _("call")),
        "has_answer",
    )
    list_filter = (DayFilter,)
    ordering = ("-id",)
    fields = readonly_fields = list_display

    def get_queryset(self, request: HttpRequest) -> QuerySet[IdempotencyKey]:
        found: QuerySet[IdempotencyKey] = super().get_queryset(request)
        return found.defer("sealed_answer").annotate(has_kept=Q(sealed_answer__isnull=False))

    @admin.display(description=_("has an answer"), boolean=True)
    def has_answer(self, row: Any) -> bool:
        return bool(row.has_kept)
