"""The outbox for staff: what was sent to whom, and what was not. Nobody reads a payload."""

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from common.readonly import ReadOnlyAdmin
from notifications import services
from notifications.models import Message
from notifications.querysets import MessageQuerySet


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("public_id", "kind", "to_address", "state", "attempts", "next_attempt_at", "sent_at", "created_at")
    list_filter = ("state", "kind")
    search_fields = ("to_address",)
    ordering = ("-id",)
    fields = (
        "public_id",
        "kind",
        "recipient",
        "to_address",
        "channel",
        "language",
        "state",
        "attempts",
        "next_attempt_at",
        "last_error",
        "dedupe_key",
        "created_at",
        "sent_at",
    )
    readonly_fields = fields
    actions = ("send_again",)

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("notifications.change_message")

    @admin.action(description=_("Send again what is dead"), permissions=["send_again"])
    def send_again(self, request: HttpRequest, queryset: MessageQuerySet) -> None:
        revived = services.send_again(messages=queryset)
        text = ngettext("%(count)d message will be sent again.", "%(count)d messages will be sent again.", revived)
        self.message_user(request, text % {"count": revived}, messages.SUCCESS if revived else messages.WARNING)
