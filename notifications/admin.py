"""The outbox for staff: what was sent to whom, and what was not. Nobody reads a payload, an address or a secret."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from common.staff import ChoiceFilter, ReadOnlyAdmin, id_column
from notifications import services
from notifications.adapters.email import kinds
from notifications.models import Message, WebhookDelivery, WebhookReceiver, WebhookSecret
from notifications.querysets import MessageQuerySet


class KindFilter(ChoiceFilter):
    """Every kind that has words; the table is not asked."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return tuple((kind, kind) for kind in kinds())


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    typed_ids = {"msg": "pk", "usr": "recipient"}
    list_display = (
        id_column("msg"),
        "kind",
        "to_address",
        "state",
        "attempts",
        "next_attempt_at",
        "sent_at",
        "created_at",
    )
    list_filter = ("state", KindFilter)
    search_fields = ("to_address",)
    search_help_text = _("An id such as msg_… or usr_…, or an address.")
    ordering = ("-id",)
    fields = (
        id_column("msg"),
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


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """`ended_at` is also when address and body were erased."""

    typed_ids = {"dlv": "pk", "org": "organization"}
    list_display = (
        id_column("dlv"),
        "kind",
        "subject",
        "receiver",
        "state",
        "attempts",
        "next_attempt_at",
        "last_status",
        "ended_at",
    )
    list_filter = ("state",)
    list_select_related = ("receiver",)
    search_fields = ("subject",)
    search_help_text = _("An id such as dlv_… or org_…, or what the event is about.")
    ordering = ("-id",)
    fields = (
        id_column("dlv"),
        "kind",
        "subject",
        "organization",
        "receiver",
        "state",
        "attempts",
        "is_leased",
        "next_attempt_at",
        "give_up_at",
        "last_status",
        "last_error",
        "dedupe_key",
        "created_at",
        "ended_at",
    )
    readonly_fields = fields


@admin.register(WebhookReceiver)
class WebhookReceiverAdmin(ReadOnlyAdmin):
    typed_ids = {"org": "organization"}
    list_display = ("origin", "organization", "failures", "blocked_until", "created_at")
    list_select_related = ("organization",)
    search_fields = ("origin",)
    ordering = ("-id",)
    fields = readonly_fields = ("origin", "organization", "failures", "blocked_until", "created_at")


@admin.register(WebhookSecret)
class WebhookSecretAdmin(ReadOnlyAdmin):
    """That there is one; never what it is."""

    typed_ids = {"org": "organization"}
    list_display = ("organization", "created_at")
    list_select_related = ("organization",)
    ordering = ("-id",)
    fields = readonly_fields = ("organization", "created_at")
