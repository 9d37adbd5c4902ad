"""Uploaded files as staff see them. They may take one away; nothing is typed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from common.staff import ReadOnlyAdmin, id_column
from media import services
from media.models import File


@admin.register(File)
class FileAdmin(ReadOnlyAdmin):
    typed_ids = {"fil": "pk", "mdl": "ai_model", "org": "organization"}
    list_display = (id_column("fil"), "kind", "status", "name", "organization", "ai_model", "size", "created_at")
    list_filter = ("kind", "status")
    list_select_related = ("ai_model", "organization")
    search_fields = ("ai_model__slug", "organization__slug", "name")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("fil"),
        "kind",
        "status",
        "name",
        "alt",
        "seen",
        "organization",
        "ai_model",
        "claimed_type",
        "media_type",
        "size",
        "width",
        "height",
        "refusal",
        "created_at",
        "ready_at",
    )
    actions = ("take_away",)

    @admin.display(description=_("contents"))
    def seen(self, file: File) -> SafeString | str:
        """A link where there is something, as visitors get it."""
        return format_html('<a href="{}">{}</a>', file.url_of(file.parts[-1]), file.name) if file.parts else "–"

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("media.change_file"))

    @admin.action(description=_("Take the chosen files away"), permissions=["moderate"])
    def take_away(self, request: HttpRequest, queryset: QuerySet[File]) -> Any:
        rows = list(queryset)
        for row in rows:
            services.remove(file=row)
        text = ngettext("%d file is gone.", "%d files are gone.", len(rows)) % len(rows)
        self.message_user(request, text, messages.SUCCESS)
