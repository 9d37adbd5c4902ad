"""What belongs to no app: the log of what staff did here."""

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.utils.translation import gettext_lazy as _

from common.staff import ReadOnlyAdmin


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    typed_ids = {"usr": "user"}
    list_display = ("action_time", "user", "action_flag", "content_type", "object_repr", "what")
    list_filter = ("action_flag", ("content_type", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("user", "content_type")
    search_fields = ("object_repr", "user__email", "=object_id")
    date_hierarchy = "action_time"
    ordering = ("-id",)
    fields = readonly_fields = (
        "action_time",
        "user",
        "action_flag",
        "content_type",
        "object_repr",
        "object_id",
        "what",
    )

    @admin.display(description=_("change"))
    def what(self, entry: LogEntry) -> str:
        return str(entry.get_change_message())
