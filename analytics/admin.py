"""Staff see what the calls came to by the hour; nothing here is theirs to change."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from analytics.models import ModelHour, RolledHour
from common.staff import ReadOnlyAdmin


@admin.register(ModelHour)
class ModelHourAdmin(ReadOnlyAdmin):
    typed_ids = {"mdl": "ai_model"}
    list_display = ("start", "listing", "requests", "counted", "answered")
    list_select_related = ("ai_model__publisher",)
    ordering = ("-start",)
    fields = readonly_fields = ("start", "listing", "requests", "counted", "answered", "errors")

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, hour: ModelHour) -> str:
        return f"{hour.ai_model.publisher.slug}/{hour.ai_model.slug}"


@admin.register(RolledHour)
class RolledHourAdmin(ReadOnlyAdmin):
    list_display = ("start", "rolled_at", "is_complete")
    list_filter = ("is_complete",)
    ordering = ("-start",)
    fields = readonly_fields = ("start", "rolled_at", "is_complete")
