"""Usage and the books for staff, read-only; and credit that they give."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from billing import services
from billing.forms import GrantForm
from billing.models import Charge, CreditGrant, GrantUse, LedgerAccount, LedgerEntry, LedgerTransaction, UsageEvent
from common.ids import encode
from common.staff import DayFilter, ModeFilter, ReadOnlyAdmin, ReadOnlyInline, StaffAdmin, id_column, money_column


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
        id_column("chg", "charge_id", _("charge")),
    )


class EntriesOfTransaction(ReadOnlyInline):
    model = LedgerEntry
    fields = readonly_fields = ("account", money_column("amount_nano", _("amount")))

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("account__organization").order_by("id")


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnlyAdmin):
    typed_ids = {"txn": "pk"}
    list_display = (id_column("txn"), "kind", "occurred_at", "key", "memo")
    list_filter = (DayFilter, "kind")
    search_fields = ("=key",)
    search_help_text = _("An id such as txn_…, or a key.")
    ordering = ("-id",)
    fields = readonly_fields = (id_column("txn"), "kind", "key", "memo", "occurred_at", "reverses", "created_at")
    inlines = (EntriesOfTransaction,)


@admin.register(LedgerAccount)
class LedgerAccountAdmin(ReadOnlyAdmin):
    typed_ids = {"acc": "pk", "org": "organization"}
    list_display = (id_column("acc"), "kind", "organization", money_column("balance_nano", _("balance")), "currency")
    list_filter = ("kind",)
    list_select_related = ("organization",)
    search_fields = ("=organization__slug",)
    search_help_text = _("An id such as org_…, or the slug of an organization.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("acc"),
        "kind",
        "organization",
        "currency",
        money_column("balance_nano", _("balance")),
        money_column("floor_nano", _("never below")),
        "created_at",
    )


@admin.register(Charge)
class ChargeAdmin(ReadOnlyAdmin):
    typed_ids = {"chg": "pk", "org": "organization", "mdl": "ai_model"}
    list_display = (
        id_column("chg"),
        "day",
        "organization",
        "ai_model",
        "calls",
        money_column("amount_nano", _("amount")),
        money_column("fee_nano", _("fee")),
    )
    list_filter = (DayFilter,)
    list_select_related = ("organization", "ai_model")
    search_fields = ("=organization__slug",)
    search_help_text = _("An id such as chg_…, org_… or mdl_…, or the slug of an organization.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("chg"),
        "day",
        "organization",
        "publisher",
        "ai_model",
        id_column("ver", "version_id", _("version")),
        id_column("prc", "price_id", _("price")),
        "calls",
        "input_tokens",
        "output_tokens",
        money_column("amount_nano", _("amount")),
        money_column("fee_nano", _("fee")),
        "transaction",
        "created_at",
    )


class UsesOfGrant(ReadOnlyInline):
    model = GrantUse
    fields = readonly_fields = ("transaction", money_column("amount_nano", _("amount")))

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("transaction").order_by("-id")


@admin.register(CreditGrant)
class CreditGrantAdmin(StaffAdmin):
    """Credit is given here, once, with a reason; what was given is only looked at."""

    form = GrantForm
    typed_ids = {"grant": "pk", "org": "organization"}
    list_display = (
        id_column("grant"),
        "organization",
        "source",
        money_column("amount_nano", _("amount")),
        money_column("remaining_nano", _("left")),
        "granted_at",
        "expires_at",
    )
    list_filter = ("source", ("ended_at", admin.EmptyFieldListFilter))
    list_select_related = ("organization",)
    search_fields = ("=organization__slug",)
    search_help_text = _("An id such as grant_… or org_…, or the slug of an organization.")
    ordering = ("-id",)
    autocomplete_fields = ("organization",)
    inlines = (UsesOfGrant,)
    add_fields = ("organization", "amount", "reason", "expires_at")
    shown_fields = (
        id_column("grant"),
        "organization",
        "source",
        money_column("amount_nano", _("amount")),
        money_column("remaining_nano", _("left")),
        money_column("ended_nano", _("expired or taken back")),
        "priority",
        "reason",
        "granted_at",
        "expires_at",
        "ended_at",
    )

    def get_fields(self, request: HttpRequest, obj: CreditGrant | None = None) -> Any:
        return self.add_fields if obj is None else self.shown_fields

    def get_readonly_fields(self, request: HttpRequest, obj: CreditGrant | None = None) -> Any:
        return () if obj is None else self.shown_fields

    def get_inlines(self, request: HttpRequest, obj: CreditGrant | None) -> Any:
        return () if obj is None else self.inlines

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: CreditGrant, form: Any, change: bool) -> None:
        """The key is of the form that was sent, so that sending it twice gives once."""
        given = services.grant_credit(
            organization=obj.organization,
            amount_nano=form.cleaned_data["amount_nano"],
            source=CreditGrant.Source.GIVEN,
            key=f"given:{encode('grant', obj.pk)}",
            reason=obj.reason,
            expires_at=obj.expires_at,
        )
        obj.__dict__ |= {name: value for name, value in given.__dict__.items() if name != "_state"}
