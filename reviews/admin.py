"""Staff read reviews, hide those that break the rules, and decide on what was reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.forms import CharField
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from common.staff import ReadOnlyAdmin, ReadOnlyInline, id_column
from reviews import services
from reviews.models import MAX_NOTE, Edit, RatingSummary, Reply, Report, Review, Vote


class NoteForm(ActionForm):
    note = CharField(label=_("Note to the author"), max_length=MAX_NOTE, required=False)


class EditInline(ReadOnlyInline):
    model = Edit
    fields = readonly_fields = ("rating", "title", "content", "written_at", "replaced_at")


class ReplyInline(ReadOnlyInline):
    model = Reply
    fields = readonly_fields = ("author", "content", "created_at", "updated_at")


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    typed_ids = {"rev": "pk", "mdl": "ai_model", "usr": "author", "org": "organization"}
    list_display = (id_column("rev"), "listing", "rating", "title", "author", "created_at", "hidden_at")
    list_filter = ("rating", ("hidden_at", admin.EmptyFieldListFilter))
    list_select_related = ("ai_model__publisher", "author")
    search_fields = ("ai_model__slug", "ai_model__publisher__slug", "=author__email")
    search_help_text = _("An id such as rev_…, mdl_… or usr_…, a model’s slug, or an address.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("rev"),
        "ai_model",
        "author",
        "organization",
        "rating",
        "title",
        "content",
        "verified_calls",
        "version",
        "helpful_count",
        "hidden_at",
        "hidden_reason",
        "created_at",
        "updated_at",
    )
    inlines = (ReplyInline, EditInline)
    actions = ("hide", "show")
    action_form = NoteForm

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, review: Review) -> str:
        return f"{review.ai_model.publisher.slug}/{review.ai_model.slug}"

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(services.MODERATE))

    @admin.action(description=_("Hide: nobody sees it, it counts nowhere"), permissions=["moderate"])
    def hide(self, request: HttpRequest, queryset: QuerySet[Review]) -> None:
        note = request.POST.get("note", "").strip()
        self._take(request, queryset, lambda review: services.hide_review(review=review, reason=note))

    @admin.action(description=_("Show again"), permissions=["moderate"])
    def show(self, request: HttpRequest, queryset: QuerySet[Review]) -> None:
        self._take(request, queryset, lambda review: services.show_review(review=review))

    def _take(self, request: HttpRequest, queryset: QuerySet[Review], step: Callable[[Review], Review]) -> None:
        done = 0
        for review in queryset:
            step(review)
            done += 1
        text = ngettext("%(count)d review is changed.", "%(count)d reviews are changed.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS)


class DecisionFilter(admin.SimpleListFilter):
    """What waits for a decision comes first."""

    title = _("decision")
    parameter_name = "decision"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("undecided", Report.Decision.__empty__), *((one.value, one.label) for one in Report.Decision)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Report]) -> QuerySet[Report]:
        if self.value() is None:
            return queryset
        return queryset.filter(decision="" if self.value() == "undecided" else self.value())


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    typed_ids = {"rpt": "pk", "rev": "review", "mdl": "ai_model", "usr": "reporter"}
    list_display = (id_column("rpt"), "about", "said", "reason", "note", "created_at", "decision", "decided_by")
    list_filter = (DecisionFilter, "reason")
    list_select_related = ("review__ai_model__publisher", "ai_model__publisher", "decided_by")
    search_fields = ("=reporter__email",)
    search_help_text = _("An id such as rpt_…, rev_…, mdl_… or usr_…, or the address of who reported.")
    ordering = ("-id",)
    fields = readonly_fields = (
        id_column("rpt"),
        "about",
        "review",
        "said",
        "ai_model",
        "reporter",
        "reason",
        "note",
        "created_at",
        "decision",
        "decision_note",
        "decided_by",
        "decided_at",
    )
    actions = ("uphold", "dismiss")
    action_form = NoteForm

    @admin.display(description=_("about"))
    def about(self, report: Report) -> str:
        ai_model = report.ai_model or (report.review and report.review.ai_model)
        what = _("Review of %(slug)s") if report.review_id else "%(slug)s"
        return str(what) % {"slug": f"{ai_model.publisher.slug}/{ai_model.slug}"} if ai_model else "–"

    @admin.display(description=_("what the review says"))
    def said(self, report: Report) -> str:
        return report.review.content if report.review else "–"

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(services.DECIDE))

    @admin.action(description=_("Uphold: a review is hidden, its author told the note"), permissions=["decide"])
    def uphold(self, request: HttpRequest, queryset: QuerySet[Report]) -> None:
        self._decide(request, queryset, uphold=True)

    @admin.action(description=_("Dismiss: everything stays"), permissions=["decide"])
    def dismiss(self, request: HttpRequest, queryset: QuerySet[Report]) -> None:
        self._decide(request, queryset, uphold=False)

    def _decide(self, request: HttpRequest, queryset: QuerySet[Report], *, uphold: bool) -> None:
        note, user = request.POST.get("note", "").strip(), request.user
        done: int = 0
        for report in queryset:
            done += services.decide_report(report=report, by=user, uphold=uphold, note=note)  # type: ignore[arg-type]
        text = ngettext("%(count)d report is decided.", "%(count)d reports are decided.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS)


@admin.register(RatingSummary)
class RatingSummaryAdmin(ReadOnlyAdmin):
    typed_ids = {"mdl": "pk"}
    list_display = ("listing", "stars")
    list_select_related = ("ai_model__publisher",)
    search_fields = ("ai_model__slug", "ai_model__publisher__slug")
    ordering = ("-id",)
    fields = readonly_fields = ("ai_model", "stars")

    @admin.display(description=_("model"), ordering="ai_model__slug")
    def listing(self, summary: RatingSummary) -> str:
        return f"{summary.ai_model.publisher.slug}/{summary.ai_model.slug}"


@admin.register(Vote)
class VoteAdmin(ReadOnlyAdmin):
    typed_ids = {"rev": "review", "usr": "user"}
    list_display = ("review", "user", "created_at")
    list_select_related = ("review", "user")
    search_fields = ("=user__email",)
    ordering = ("-id",)
    fields = readonly_fields = ("review", "user", "created_at")
