"""Metered usage for staff, read-only."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from billing.models import UsageEvent
from common.staff import DayFilter, ModeFilter, ReadOnlyAdmin, id_column, money_column


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
    typed_ids = {"req": "pk", "evt": "pk", "org": "organization", "mdl": "ai_model"}
    list_display = (
        id_column("req", description=_("call")),
        "occurred_at",
        "organization",
        "ai_model",
        "input_tokens",
        "output_tokens",
        money_column("cost_nano", _("cost")),
        "mode",
    )
    list_filter = (DayFilter, ModeFilter)
    list_select_related = ("organization", "ai_model")
    search_fields = ("=organization__slug",)
    search_help_text = _("An id such as req_…, org_… or mdl_…, or the slug of an organization.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("req", description=_("call")),
        "occurred_at",
        "mode",
        "organization",
        "publisher",
        "ai_model",
        id_column("ver", "version_id", _("version")),
        id_column("prc", "price_id", _("price")),
        "input_tokens",
        "output_tokens",
        money_column("cost_nano", _("cost")),
        "posted_at",
    )
