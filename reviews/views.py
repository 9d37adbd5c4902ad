"""The tab Reviews of a model's page, one review, and reports."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from common.pagination import paginate
from common.policy import actor_of
from common.problems import Problem
from common.rest import read_query
from marketplace.models import AIModel
from marketplace.services import SEE_ALL, find_model
from reviews import services
from reviews.errors import AlreadyReported, AlreadyReviewed, NotAUser, OwnModel
from reviews.forms import ReplyForm, ReportForm, ReviewForm
from reviews.models import Report, Review, Vote
from reviews.serializers import ORDERS, ReviewsQuery

PAGE_SIZE = 20
EDITS_SHOWN = 20

methods = require_http_methods(["GET", "HEAD", "POST"])


@methods
def reviews(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """What people say of a model, and the form for whoever may say something. Raises NotFound."""
    ai_model = _find_model(request, publisher, slug)
    actor = actor_of(request)
    form = None
    if request.method == "POST":
        form = ReviewForm(request.POST)
        if form.is_valid():
            given = form.cleaned_data
            try:
                services.post_review(ai_model=ai_model, author=actor.user, organization=actor.organization, **given)
            except AlreadyReviewed:  # in another window
                messages.warning(request, _("You reviewed this model already."))
            else:
                messages.success(request, _("Your review is published."))
            return redirect("reviews", publisher, slug)
    params = read_query(ReviewsQuery, request.GET)
    rows = Review.objects.of_model(ai_model).visible().detailed()
    if params["rating"] is not None:
        rows = rows.filter(rating=params["rating"])
    page = paginate(rows, order=ORDERS[params["sort"]], limit=PAGE_SIZE, cursor=params.get("cursor"))
    own = Review.objects.of_model(ai_model).written_by(actor.user).detailed().first() if actor.user else None
    standing, calls = _standing(request, ai_model, own)
    if form is None and standing == "may":
        form = ReviewForm()
    summary = services.summary_of(ai_model)
    kept = {name: str(params[name]) for name in ("sort", "rating") if name in request.GET and params[name] is not None}
    context = {
        "ai_model": ai_model,
        "page": page,
        "next": urlencode({**kept, "cursor": page["next_cursor"]}) if page["next_cursor"] else "",
        "is_first": "cursor" not in params,
        "summary": summary,
        "bars": [
            (star, summary.stars[star - 1], params["rating"] == star) for star in range(len(summary.stars), 0, -1)
        ],
        "rating": params["rating"],
        "sorts": _sorts(kept),
        "own": own,
        "standing": standing,
        "calls": calls,
        "form": form,
        "voted": _voted(request, page["data"]),
    }
    return render(request, "reviews/reviews.html", context, status=422 if form is not None and form.errors else 200)


@methods
def review(request: HttpRequest, publisher: str, slug: str, id: UUID) -> HttpResponse:
    """One review with what it said before; its author changes it here. Raises NotFound."""
    found = _find(request, publisher, slug, id)
    form = None
    if request.method == "POST":
        form = ReviewForm(request.POST)
        if form.is_valid():
            services.edit_review(review=found, by=actor_of(request).user, **form.cleaned_data)
            messages.success(request, _("Your review is changed."))
            return redirect("reviews", publisher, slug)
    return _page_of(request, found, form=form)


@require_POST
def delete(request: HttpRequest, publisher: str, slug: str, id: UUID) -> HttpResponse:
    services.delete_review(review=_find(request, publisher, slug, id), by=actor_of(request).user)
    messages.success(request, _("Your review is deleted."))
    return redirect("reviews", publisher, slug)


@require_POST
def helpful(request: HttpRequest, publisher: str, slug: str, id: UUID) -> HttpResponse:
    is_helpful = request.POST.get("helpful") != "no"
    found = _find(request, publisher, slug, id)
    services.set_helpful(review=found, by=actor_of(request).user, is_helpful=is_helpful)
    back = redirect("reviews", publisher, slug)
    back["Location"] += f"#{found.public_id}"
    return back


@require_POST
def reply(request: HttpRequest, publisher: str, slug: str, id: UUID) -> HttpResponse:
    """The publisher's: written, changed, or taken back."""
    found, actor = _find(request, publisher, slug, id), actor_of(request)
    if request.POST.get("act") == "delete":
        services.delete_reply(review=found, organization=actor.organization)
        messages.success(request, _("Your reply is deleted."))
        return redirect("review", publisher, slug, id)
    form = ReplyForm(request.POST)
    if not form.is_valid():
        return _page_of(request, found, reply=form)
    services.reply(review=found, organization=actor.organization, by=actor.user, **form.cleaned_data)
    messages.success(request, _("Your reply is published."))
    return redirect("review", publisher, slug, id)


@require_POST
def report(request: HttpRequest, publisher: str, slug: str, id: UUID) -> HttpResponse:
    found = _find(request, publisher, slug, id)
    form = ReportForm(request.POST, reasons=Report.OF_REVIEWS)
    if _is_reported(request, form, services.report_review, review=found):
        return redirect("reviews", publisher, slug)
    return _page_of(request, found, report=form)


@methods
def report_model(request: HttpRequest, publisher: str, slug: str) -> HttpResponse:
    """Tell the staff that a listing breaks the rules."""
    ai_model = _find_model(request, publisher, slug)
    form = ReportForm(request.POST or None, reasons=Report.OF_MODELS)
    if form.is_bound and _is_reported(request, form, services.report_model, ai_model=ai_model):
        return redirect("model", publisher, slug)
    context = {"ai_model": ai_model, "form": form}
    return render(request, "reviews/report.html", context, status=422 if form.errors else 200)


def _is_reported(request: HttpRequest, form: ReportForm, tell: Any, **about: Any) -> bool:
    if not form.is_valid():
        return False
    try:
        tell(by=actor_of(request).user, **form.cleaned_data, **about)
    except AlreadyReported:
        messages.warning(request, _("You reported this already."))
    except Problem as problem:
        if not problem.errors:
            raise
        form.add_problem(problem)
        return False
    else:
        messages.success(request, _("The staff of this site will look at it."))
    return True


def _page_of(request: HttpRequest, found: Review, **forms: Any) -> HttpResponse:
    """The page of one review; `form`, `reply` and `report` where they were filled in."""
    actor, ai_model = actor_of(request), found.ai_model
    is_own = actor.user is not None and found.author_id == actor.user.pk
    may_reply = actor.organization is not None and ai_model.publisher_id == actor.organization.pk
    may_change = is_own and found.hidden_at is None
    context = {
        "ai_model": ai_model,
        "review": found,
        "edits": found.edits.order_by("-id")[:EDITS_SHOWN],
        "is_own": is_own,
        "voted": _voted(request, [found]),
        "form": forms.get("form") or (ReviewForm(initial=ReviewForm.initial_of(found)) if may_change else None),
        "reply": forms.get("reply")
        or (
            ReplyForm(initial={"content": found.answer.content if found.answer else ""}, auto_id="reply_%s")
            if may_reply and found.hidden_at is None
            else None
        ),
        "report": forms.get("report")
        or (ReportForm(reasons=Report.OF_REVIEWS, auto_id="report_%s") if actor.user and not is_own else None),
    }
    return render(request, "reviews/review.html", context, status=422 if any(forms.values()) else 200)


def _standing(request: HttpRequest, ai_model: AIModel, own: Review | None) -> tuple[str, int]:
    """Whether the visitor may review: "may", "stranger", "own", "unused" or "wrote"; and how many calls count."""
    actor = actor_of(request)
    if actor.user is None:
        return "stranger", 0
    if own is not None:
        return "wrote", 0
    try:
        found = services.may_review(ai_model=ai_model, user=actor.user, organization=actor.organization)
    except OwnModel:
        return "own", 0
    except NotAUser as problem:
        return "unused", problem.extra["needed_calls"]
    return ("may", found["verified_calls"]) if ai_model.is_public else ("own", 0)


def _sorts(kept: dict[str, str]) -> list[dict[str, Any]]:
    labels = {
        "newest": _("Newest"),
        "helpful": _("Most helpful"),
        "highest": _("Best first"),
        "lowest": _("Worst first"),
    }
    chosen = kept.get("sort", "newest")
    return [
        {"label": label, "href": f"?{urlencode({**kept, 'sort': name})}", "current": name == chosen}
        for name, label in labels.items()
    ]


def _voted(request: HttpRequest, rows: Any) -> set[UUID]:
    """Which of them the visitor found helpful."""
    user = actor_of(request).user
    if user is None:
        return set()
    votes: QuerySet[Vote] = Vote.objects.filter(user=user, review__in=rows)
    return set(votes.values_list("review_id", flat=True))


def _find(request: HttpRequest, publisher: str, slug: str, id: UUID) -> Review:
    actor, ai_model = actor_of(request), _find_model(request, publisher, slug)
    rows = Review.objects.visible_to(actor.user, sees_all=actor.may(services.SEE_HIDDEN)).of_model(ai_model)
    found: Review = get_object_or_404(rows.detailed(), pk=id)
    found.ai_model = ai_model
    return found


def _find_model(request: HttpRequest, publisher: str, slug: str) -> AIModel:
    actor = actor_of(request)
    return find_model(f"{publisher}:{slug}", organization=actor.organization, sees_all=actor.may(SEE_ALL))
