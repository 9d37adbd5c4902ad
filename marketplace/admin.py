"""The catalogue, for staff: the queue of listings to look at, and the steps they may take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.utils import flatten_fieldsets
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from common.problems import Problem
from common.staff import ReadOnlyAdmin, ReadOnlyInline, id_column, money_column
from marketplace import services
from marketplace.models import AIModel, Measurement, ModelVersion, Price, SavedModel, UnsavedStep
from marketplace.services.lines import side_by_side

AMOUNTS = (
    money_column("amount_nano", _("amount")),
    "period",
    money_column("per_call_nano", _("per call")),
    money_column("input_nano_per_million", _("per million input tokens")),
    money_column("output_nano_per_million", _("per million output tokens")),
    "included_calls",
)


class VersionInline(ReadOnlyInline):
    model = ModelVersion
    fields = readonly_fields = ("version", "published_at", "created_at")
    ordering = ("-id",)
    show_change_link = True


class MeasurementInline(ReadOnlyInline):
    model = Measurement
    fields = readonly_fields = ("requests", "sample_size", "latency_p50_ms", "latency_p95_ms", "uptime", "measured_at")

    @admin.display(description=_("uptime"))
    def uptime(self, measurement: Measurement) -> str:
        return "–" if measurement.uptime_bp is None else f"{measurement.uptime_bp / 100:.2f}%"


class UnsavedStepInline(ReadOnlyInline):
    """That something was typed and not saved; what, is the publisher's alone."""

    model = UnsavedStep
    fields = readonly_fields = ("step", "updated_at")


class PriceInline(ReadOnlyInline):
    model = Price
    fields = readonly_fields = ("type", *AMOUNTS, "effective_from")
    ordering = ("-effective_from",)


class NoteForm(ActionForm):
    """Beside the choice of an action: what the publisher is told of a rejection."""

    note = forms.CharField(label=_("note to the publisher"), max_length=2_000, required=False)


@admin.register(AIModel)
class AIModelAdmin(ReadOnlyAdmin):
    action_form = NoteForm
    typed_ids = {"mdl": "pk", "org": "publisher"}
    list_display = ("name", "address", "category", "status", "is_callable", "current_version", "published_at")
    list_filter = ("status", "is_callable", "category", "is_demo")
    list_select_related = ("publisher", "current_version")
    search_fields = ("name", "slug", "publisher__slug", "publisher__name")
    date_hierarchy = "published_at"
    ordering = ("-id",)
    show_facets = admin.ShowFacets.ALLOW
    fieldsets = (
        (None, {"fields": (id_column("mdl"), "name", "slug", "publisher", "category", "capabilities", "license")}),
        (_("State"), {"fields": ("status", "is_callable", "test_enabled", "is_demo", "current_version")}),
        (_("Review"), {"fields": ("changes", "review_note", "checked_at", "check_passed", "degraded_at", "sunset_on")}),
        (_("Words"), {"fields": ("description", "context_tokens")}),
        (_("Figures"), {"fields": ("popularity", "deployment_count", "rating_count", "rating_sum")}),
        (_("When"), {"fields": ("published_at", "created_at", "updated_at")}),
    )
    readonly_fields = flatten_fieldsets(fieldsets)
    inlines = (MeasurementInline, VersionInline, PriceInline, UnsavedStepInline)
    actions = ("publish", "reject", "deprecate", "suspend", "archive")

    @admin.display(description=_("slug"), ordering="slug")
    def address(self, ai_model: AIModel) -> str:
        return _address(ai_model)

    @admin.display(description=_("changed since the last look"))
    def changes(self, ai_model: AIModel) -> SafeString | str:
        """What is new to whoever decides; of a listing that nobody looked at yet, that."""
        if not ai_model.reviewed:
            return gettext("Nobody has looked at it yet.")
        was, now = ai_model.reviewed, json.loads(json.dumps(services.looked_at(ai_model)))
        names = [name for name in now if now[name] != was.get(name)]
        if not names:
            return gettext("Nothing.")
        fields = [(name, side_by_side(_as_text(was.get(name)), _as_text(now[name]))) for name in names]
        return render_to_string("marketplace/admin_changes.html", {"fields": fields})

    def get_view_on_site_url(self, obj: AIModel | None = None) -> str | None:
        return None if obj is None or not obj.is_public else f"/models/{self.address(obj)}"

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("marketplace.change_aimodel"))

    @admin.action(description=_("Publish: in review, or suspended"), permissions=["moderate"])
    def publish(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        self._take(request, queryset, lambda ai_model: services.publish(ai_model=ai_model, by_staff=True))

    @admin.action(description=_("Reject: in review"), permissions=["moderate"])
    def reject(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        note = request.POST.get("note", "").strip()
        self._take(request, queryset, lambda ai_model: services.reject(ai_model=ai_model, note=note))

    @admin.action(description=_("Deprecate: calls go on"), permissions=["moderate"])
    def deprecate(self, request: HttpRequest, queryset: QuerySet[AIModel]) -> None:
        self._take(request, queryset, lambda ai_model: services.deprecate(ai_model=ai_model))

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
    typed_ids = {"ver": "pk", "mdl": "ai_model"}
    list_display = ("__str__", "listing", "published_at", "created_at")
    list_filter = (("published_at", admin.EmptyFieldListFilter),)
    list_select_related = ("ai_model__publisher",)
    search_fields = ("ai_model__name", "ai_model__slug", "ai_model__publisher__slug", "=version")
    date_hierarchy = "published_at"
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("ver"),
        "ai_model",
        "version",
        "changelog",
        "input",
        "output",
        "published_at",
        "created_at",
    )

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, version: ModelVersion) -> str:
        return _address(version.ai_model)

    @admin.display(description=_("input schema"))
    def input(self, version: ModelVersion) -> str:
        return _source(version.input_schema)

    @admin.display(description=_("output schema"))
    def output(self, version: ModelVersion) -> str:
        return _source(version.output_schema)


@admin.register(SavedModel)
class SavedModelAdmin(ReadOnlyAdmin):
    typed_ids = {"usr": "user", "mdl": "ai_model"}
    list_display = ("user", "listing", "created_at")
    list_select_related = ("user", "ai_model__publisher")
    search_fields = ("=user__email", "ai_model__slug")
    ordering = ("-id",)
    fields = readonly_fields = ("user", "ai_model", "created_at")

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, saved: SavedModel) -> str:
        return _address(saved.ai_model)


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    typed_ids = {"prc": "pk", "mdl": "ai_model"}
    list_display = ("__str__", "listing", *AMOUNTS)
    list_filter = ("type", "period")
    list_select_related = ("ai_model__publisher",)
    search_fields = ("ai_model__name", "ai_model__slug", "ai_model__publisher__slug")
    date_hierarchy = "effective_from"
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("prc"),
        "ai_model",
        "type",
        "currency",
        *AMOUNTS,
        "effective_from",
        "created_at",
    )

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, price: Price) -> str:
        return _address(price.ai_model)


def _address(ai_model: AIModel) -> str:
    return f"{ai_model.publisher.slug}/{ai_model.slug}"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _source(schema: Any) -> SafeString:
    return format_html('<pre tabindex="0">{}</pre>', json.dumps(schema, indent=2, ensure_ascii=False))
