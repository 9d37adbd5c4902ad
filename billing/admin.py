"""Metered usage for staff, read-only."""

from django.contrib import admin

from billing.models import UsageEvent
from common.readonly import ReadOnlyAdmin


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
    list_display = ("id", "occurred_at", "organization", "ai_model", "input_tokens", "output_tokens", "cost_nano")
    list_filter = ("mode",)
    list_select_related = ("organization", "ai_model")
    ordering = ("-id",)
