"""Keys, for staff: to look at and to revoke. No digest is shown."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apikeys import services
from apikeys.models import APIKey, KeyClient, LeakReport
from common.staff import ReadOnlyAdmin, ReadOnlyInline, id_column


class KeyClientInline(ReadOnlyInline):
    model = KeyClient
    fields = readonly_fields = ("client", "address", "first_seen_at", "last_seen_at")
    ordering = ("-last_seen_at",)


@admin.register(APIKey)
class APIKeyAdmin(ReadOnlyAdmin):
    typed_ids = {"key": "pk", "org": "organization", "usr": "user"}
    list_display = ("name", "shown_key", "organization", "user", "mode", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("mode", ("revoked_at", admin.EmptyFieldListFilter), ("expires_at", admin.EmptyFieldListFilter))
    list_select_related = ("organization", "user")
    search_fields = ("name", "prefix", "last_four", "organization__slug", "user__email")
    search_help_text = _("Its id, name, beginning or last four characters, its organization or its person.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("key"),
        "name",
        "shown_key",
        "mode",
        "organization",
        "user",
        "permissions",
        "allowed_models",
        "allowed_ips",
        "rate_limit",
        "last_used_at",
        "expires_at",
        "overlap_until",
        "revoked_at",
        "created_at",
        "updated_at",
    )
    inlines = (KeyClientInline,)
    actions = ("revoke",)

    @admin.display(description=_("key"), ordering="prefix")
    def shown_key(self, key: APIKey) -> str:
        return str(key)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("apikeys.change_apikey"))

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        done = [services.revoke_key(key=key) for key in queryset.filter(revoked_at=None)]
        text = ngettext("%(count)d key is revoked.", "%(count)d keys are revoked.", len(done))
        self.message_user(request, text % {"count": len(done)}, messages.SUCCESS)


@admin.register(LeakReport)
class LeakReportAdmin(ReadOnlyAdmin):
    list_display = ("partner", "leaks", "received_at")
    search_fields = ("partner",)
    ordering = ("-received_at",)
    fields = readonly_fields = ("partner", "leaks", "received_at")
