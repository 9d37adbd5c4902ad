"""The catalogue, for staff: the queue of listings to look at, and the steps they may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from common.money import amount
from common.problems import Problem
from common.readonly import ReadOnlyAdmin
from marketplace import services
from marketplace.models import AIModel, Measurement, ModelVersion, Price


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class VersionInline(ReadOnlyInline):
    model = ModelVersion
    fields = readonly_fields = ("version", "published_at", "created_at")
    ordering = ("-id",)


class PriceInline(ReadOnlyInline):
    model = Price
    fields = ("type", "amount", "period", "per_call", "input_per_million", "output_per_million", "effective_from")
    readonly_fields = fields
    ordering = ("-effective_from",)

    @admin.display(description=_("amount"))
    def amount(self, price: Price) -> str:
        return _shown(price.amount_nano, price)

    @admin.display(description=_("per call"))
    def per_call(self, price: Price) -> str:
        return _shown(price.per_call_nano, price)

    @admin.display(description=_("per million input tokens"))
    def input_per_million(self, price: Price) -> str:
        return _shown(price.input_nano_per_million, price)

    @admin.display(description=_("per million output tokens"))
    def output_per_million(self, price: Price) -> str:
        return _shown(price.output_nano_per_million, price)


def _shown(nano: int | None, price: Price) -> str:
    return "–" if nano is None else f"{amount(nano)} {price.currency}"


class MeasurementInline(ReadOnlyInline):
    model = Measurement
    fields = readonly_fields = (
        *("requests", "sample_size", "latency_p50_ms", "latency_p95_ms", "first_token_p50_ms", "tokens_per_second"),
        *("uptime_bp", "measured_at"),
    )


@admin.register(AIModel)
class AIModelAdmin(ReadOnlyAdmin):
    list_display = ("name", "address", "category", "status", "is_callable", "current_version", "published_at")
    list_filter = ("status", "is_callable", "category", "is_demo")
    list_select_related = ("publisher", "current_version")
    search_fields = ("name", "slug", "publisher__slug", "publisher__name")
    date_hierarchy = "published_at"
    ordering = ("-id",)
    exclude = ("search_vector",)
    inlines = (VersionInline, PriceInline, MeasurementInline)
    actions = ("publish", "reject", "suspend", "archive")

    @admin.display(description=_("slug"), ordering="slug")
    def address(self, ai_model: AIModel) -> str:
        return f"{ai_model.publisher.slug}/{ai_model.slug}"

    def get_view_on_site_url(self, obj: AIModel | None = None) -> str | None:
        return None if obj is None else f"/models/{self.address(obj)}"

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("marketplace.change_aimodel"))

    @admin.action(description=_("Publish: in review, or suspended"), permissions=["moderate"])
    def publish(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        self._take(request, queryset, lambda ai_model: services.publish(ai_model=ai_model, by_staff=True))

    @admin.action(description=_("Reject: in review"), permissions=["moderate"])
    def reject(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        self._take(request, queryset, lambda ai_model: services.reject(ai_model=ai_model))

    @admin.action(description=_("Suspend: no more calls"), permissions=["moderate"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        self._take(request, queryset, lambda ai_model: services.suspend(ai_model=ai_model))

    @admin.action(description=_("Archive for good"), permissions=["moderate"])
    def archive(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        self._take(request, queryset, lambda ai_model: services.archive(ai_model=ai_model))

    def _take(self, request: HttpRequest, queryset: QuerySet[AIModel], step: Callable[[AIModel], AIModel]) -> None:
        """The same step for each; what could not be done is said one by one."""
        done = 0
        for ai_model in queryset:
            try:
                step(ai_model)
            except Problem as problem:
                self.message_user(request, f"{ai_model}: {problem.detail}", messages.ERROR)
            else:
                done += 1
        if done:
            text = ngettext("%(count)d model is changed.", "%(count)d models are changed.", done)
            self.message_user(request, text % {"count": done}, messages.SUCCESS)


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("ai_model", "version", "published_at", "created_at")
    list_filter = (("published_at", admin.EmptyFieldListFilter),)
    list_select_related = ("ai_model",)
    search_fields = ("ai_model__name", "ai_model__slug", "version")
    ordering = ("-id",)


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    list_display = ("ai_model", "type", "period", "currency", "effective_from")
    list_filter = ("type", "period")
    list_select_related = ("ai_model",)
    search_fields = ("ai_model__name", "ai_model__slug")
    date_hierarchy = "effective_from"
    ordering = ("-id",)
