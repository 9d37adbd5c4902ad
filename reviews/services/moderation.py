"""Reports, and what the staff decide on them. Hiding takes a review out of every figure; showing brings it back."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from accounts.models import User
from common import clock
from common.problems import FieldError, ValidationFailed
from marketplace.models import AIModel
from observability.services import record
from reviews.errors import AlreadyReported, OwnReview
from reviews.models import MAX_NOTE, Report, Review
from reviews.services.mails import tell_author
from reviews.services.writing import hold_review

#: What the staff need: permissions of Django's.
SEE_HIDDEN, MODERATE, DECIDE = "reviews.view_review", "reviews.change_review", "reviews.change_report"


@transaction.atomic
def report_review(*, review: Review, by: User, reason: str, note: str = "") -> Report:
    """Tell the staff of a review. Raises OwnReview, AlreadyReported, ValidationFailed."""
    if review.author_id == by.pk:
        raise OwnReview()
    _check(reason, note, Report.OF_REVIEWS)
    report = _report(Report(review=review, reporter=by, reason=reason, note=note))
    record("review.reported", target=review, after={"reason": reason})
    return report


@transaction.atomic
def report_model(*, ai_model: AIModel, by: User, reason: str, note: str = "") -> Report:
    """Tell the staff of a listing. Raises AlreadyReported, ValidationFailed."""
    _check(reason, note, Report.OF_MODELS)
    report = _report(Report(ai_model=ai_model, reporter=by, reason=reason, note=note))
    record("model.reported", target=ai_model, after={"reason": reason})
    return report


@transaction.atomic
def hide_review(*, review: Review, reason: str = "") -> Review:
    """Nobody but its author and the staff sees it any more; the author is told the reason by mail."""
    review = hold_review(review)
    if review.hidden_at is None:
        review.hidden_at, review.hidden_reason = clock.now(), reason[:MAX_NOTE]
        review.save(update_fields=["hidden_at", "hidden_reason"])
        record("review.hidden", target=review, before={"hidden": False}, after={"hidden": True, "reason": reason})
        tell_author(review, "review_hidden", once=review.hidden_at.isoformat(), reason=review.hidden_reason)
    return review


@transaction.atomic
def show_review(*, review: Review) -> Review:
    """It counts again, and everybody reads it."""
    review = hold_review(review)
    if review.hidden_at is not None:
        review.hidden_at, review.hidden_reason = None, ""
        review.save(update_fields=["hidden_at", "hidden_reason"])
        record("review.shown", target=review, before={"hidden": True}, after={"hidden": False})
    return review


@transaction.atomic
def decide_report(*, report: Report, by: User | None, uphold: bool, note: str = "") -> int:
    """Decide on all that was reported of the same thing. Returns how many reports that were.

    Upheld, a review is hidden, and the note is told its author; what becomes of a model is a step of its own. What was
    decided already stays.
    """
    if report.review is not None:
        hold_review(report.review)
    decision = Report.Decision.UPHELD if uphold else Report.Decision.DISMISSED
    decided = (
        Report.objects.about_same(report)
        .open()
        .update(decision=decision, decision_note=note[:MAX_NOTE], decided_by=by, decided_at=clock.now())
    )
    if decided:
        after = {"decision": decision.value, "reports": decided, "note": note}
        record("report.decided", target=report, after=after)
        if uphold and report.review is not None:
            hide_review(review=report.review, reason=note)
    return decided


def _check(reason: str, note: str, reasons: tuple[str, ...]) -> None:
    faults: list[FieldError] = []
    if reason not in reasons:
        faults.append({"pointer": "/reason", "code": "invalid_choice", "detail": f"One of: {', '.join(reasons)}."})
    elif reason == Report.Reason.OTHER and not note:
        faults.append({"pointer": "/note", "code": "required", "detail": "Say what is wrong."})
    if faults:
        raise ValidationFailed(errors=faults)


def _report(report: Report) -> Report:
    try:
        with transaction.atomic():
            report.save(force_insert=True)
    except IntegrityError as error:
        raise AlreadyReported() from error
    return report
