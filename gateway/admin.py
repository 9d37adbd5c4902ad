"""Staff see endpoints, deployments and calls; all are read-only here. No secret is shown."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from common.ids import encode
from common.staff import ChoiceFilter, DayFilter, ModeFilter, ReadOnlyAdmin, id_column, money_column
from gateway.models import ContractCheck, Deployment, Endpoint, Invocation, Prediction, SweepMark, UsageConfirmation

CALL_ID = id_column("req")


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    typed_ids = {"mdl": "version__ai_model"}
    list_display = ("listing", "version", "protocol", "url", "timeout_seconds", "updated_at")
    list_filter = ("protocol",)
    list_select_related = ("version__ai_model__publisher",)
    search_fields = ("url", "version__ai_model__name", "version__ai_model__slug", "version__ai_model__publisher__slug")
    ordering = ("-id",)
    fields = readonly_fields = (
        "listing",
        "version",
        "protocol",
        "url",
        "upstream_model",
        "auth_header",
        "has_secret",
        "timeout_seconds",
        money_column("max_cost_nano", _("one call costs at most")),
        "created_at",
        "updated_at",
    )

    @admin.display(description=_("model"), ordering="version__ai_model__slug")
    def listing(self, endpoint: Endpoint) -> str:
        ai_model = endpoint.version.ai_model
        return f"{ai_model.publisher.slug}/{ai_model.slug}"

    @admin.display(description=_("has a secret"), boolean=True)
    def has_secret(self, endpoint: Endpoint) -> bool:
        return endpoint.sealed_secret is not None


@admin.register(ContractCheck)
class ContractCheckAdmin(ReadOnlyAdmin):
    typed_ids = {"chk": "pk", "mdl": "endpoint__version__ai_model"}
    list_display = (id_column("chk"), "listing", "status", "reason", "created_at", "ended_at")
    list_filter = ("status", "reason")
    list_select_related = ("endpoint__version__ai_model__publisher",)
    search_fields = ("endpoint__version__ai_model__slug", "endpoint__version__ai_model__publisher__slug")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("chk"),
        "listing",
        "status",
        "reason",
        "answers",
        "created_at",
        "started_at",
        "ended_at",
    )

    @admin.display(description=_("model"), ordering="endpoint__version__ai_model__slug")
    def listing(self, check: ContractCheck) -> str:
        ai_model = check.endpoint.version.ai_model
        return f"{ai_model.publisher.slug}/{ai_model.slug}"

    @admin.display(description=_("steps"))
    def answers(self, check: ContractCheck) -> SafeString:
        # Not above: Django loads this room before DRF, and the gateway's services load DRF, which asks for ours.
        from gateway.services.check_words import OUTCOME_WORDS, steps_of

        rows = ((step.title, OUTCOME_WORDS[step.outcome], step.seen) for step in steps_of(check.steps))
        return format_html_join("", "<p><b>{}</b>: {}. {}</p>", rows)


@admin.register(Deployment)
class DeploymentAdmin(ReadOnlyAdmin):
    typed_ids = {"dep": "pk", "org": "organization", "mdl": "ai_model"}
    list_display = ("name", "organization", "ai_model", "pinned", "status", "rate_limit", "fallback", "deleted_at")
    list_filter = ("status", ("deleted_at", admin.EmptyFieldListFilter))
    list_select_related = ("organization", "ai_model", "version", "fallback")
    search_fields = ("name", "organization__slug", "ai_model__slug")
    search_help_text = _("Its id or name, its organization or its model.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("dep"),
        "name",
        "organization",
        "ai_model",
        "pinned",
        "status",
        "rate_limit",
        "fallback",
        "created_at",
        "updated_at",
        "deleted_at",
    )

    @admin.display(description=_("version"), ordering="version")
    def pinned(self, deployment: Deployment) -> str:
        return gettext("current") if deployment.version is None else deployment.version.version


class FailureFilter(ChoiceFilter):
    title = _("answer")
    parameter_name = "http_status__gte"
    values = (("400", _("Errors")), ("500", _("Errors of the upstream or of ours")))


@admin.register(Invocation)
class InvocationAdmin(ReadOnlyAdmin):
    typed_ids = {
        "req": "pk",
        "org": "organization",
        "usr": "user",
        "key": "api_key",
        "mdl": "ai_model",
        "dep": "deployment",
    }
    list_display = (
        CALL_ID,
        "started_at",
        "organization",
        "ai_model",
        "kind",
        "state",
        "http_status",
        money_column("cost_nano", _("cost")),
        "latency_ms",
        "rule_name",
    )
    list_filter = (DayFilter, FailureFilter, "state", "kind", ModeFilter, "is_streamed", "is_demo")
    list_select_related = ("organization", "ai_model")
    search_fields = ("=organization__slug",)
    search_help_text = _("An id such as req_…, org_…, key_…, usr_… or mdl_…, or the slug of an organization.")
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": (CALL_ID, "state", "kind", "mode", "is_streamed", "is_demo")}),
        (
            _("Who and what"),
            {"fields": ("organization", "user", "api_key", "deployment", "publisher", "ai_model", "version")},
        ),
        (
            _("Fallback"),
            {
                "fields": (
                    id_column("req", "fallback_id", _("called instead")),
                    id_column("req", "fallback_of_id", _("called instead of")),
                )
            },
        ),
        (_("When"), {"fields": ("started_at", "beat_at", "settled_at", "first_token_ms", "latency_ms")}),
        (_("Answer"), {"fields": ("http_status", "error_code", "input_tokens", "output_tokens", "usage_source")}),
        (
            _("Money"),
            {
                "fields": (
                    "rule",
                    "price",
                    money_column("hold_nano", _("held")),
                    money_column("extended_nano", _("held, of it added while it ran")),
                    money_column("cost_nano", _("cost")),
                    money_column("overrun_nano", _("beyond the hold, charged to nobody")),
                    "budgets",
                )
            },
        ),
    )
    readonly_fields = flatten_fieldsets(fieldsets)

    @admin.display(description=_("held from"))
    def budgets(self, call: Invocation) -> str:
        """The budgets that its hold rested on, with the way to each."""
        page = "admin:accounts_budget_change"
        links = ((reverse(page, args=[id]), encode("bud", id)) for id in call.budget_ids)
        return format_html_join(", ", '<a href="{}"><code>{}</code></a>', links) or "–"

    @admin.display(description=_("rule"))
    def rule_name(self, call: Invocation) -> str:
        """Without the sentence that explains it; that is on the page of the call."""
        return call.rule or "–"


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    """How it went; what was sent and what came back is read by nobody but its maker."""

    typed_ids = {"pred": "pk", "req": "pk", "org": "organization", "key": "api_key", "mdl": "ai_model"}
    list_display = (
        id_column("pred"),
        "status",
        "organization",
        "listing",
        "error_code",
        money_column("cost_nano", _("cost")),
        "created_at",
        "completed_at",
    )
    list_filter = ("status",)
    list_select_related = ("organization", "ai_model__publisher")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("pred"),
        id_column("req", "pk", _("call")),
        "status",
        "organization",
        "user",
        "api_key",
        "listing",
        "version",
        "kind",
        "mode",
        "error_code",
        money_column("hold_nano", _("held")),
        money_column("cost_nano", _("cost")),
        "webhook_events",
        "worker",
        "lease_ends_at",
        "contacted_at",
        "cancel_asked_at",
        "created_at",
        "started_at",
        "deadline_at",
        "completed_at",
        "expires_at",
    )

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, prediction: Prediction) -> str:
        return f"{prediction.ai_model.publisher.slug}/{prediction.ai_model.slug}"


@admin.register(UsageConfirmation)
class UsageConfirmationAdmin(ReadOnlyAdmin):
    typed_ids = {"req": "pk", "org": "publisher"}
    list_display = (
        CALL_ID,
        "received_at",
        "publisher",
        "input_tokens",
        "output_tokens",
        money_column("gap_nano", _("more than was settled")),
    )
    list_select_related = ("publisher",)
    search_fields = ("=publisher__slug",)
    search_help_text = _("An id such as req_… or org_…, or the slug of an organization.")
    ordering = ("-id",)
    fields = readonly_fields = (
        CALL_ID,
        "publisher",
        id_column("end", "endpoint_id", _("signed by the key of")),
        "input_tokens",
        "output_tokens",
        "received_at",
        "compared_at",
        money_column("gap_nano", _("more than was settled")),
    )


@admin.register(SweepMark)
class SweepMarkAdmin(ReadOnlyAdmin):
    list_display = ("name", "swept_at", id_column("req", "low_water", _("done before")))
    fields = readonly_fields = ("name", "swept_at", id_column("req", "low_water", _("done before")), "still_open")

    @admin.display(description=_("older calls that were alive"))
    def still_open(self, mark: SweepMark) -> int:
        return len(mark.carried)
