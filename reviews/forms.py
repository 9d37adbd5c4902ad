"""What people fill in about a model: a review, a reply, a report."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from common.problems import Problem
from reviews.models import MAX_CONTENT, MAX_NOTE, MAX_REPLY, MAX_TITLE, STARS, Report, Review


class OfServices(forms.Form):
    """Takes what a service refuses to the field that it is about."""

    def add_problem(self, problem: Problem) -> None:
        for fault in problem.errors or [{"pointer": "", "code": problem.code, "detail": problem.detail}]:
            name = str(fault["pointer"]).removeprefix("/")
            self.add_error(name if name in self.fields else None, str(fault["detail"]))


class ReviewForm(OfServices):
    rating = forms.TypedChoiceField(
        label=_("Your rating"),
        choices=[(star, str(star)) for star in range(1, STARS + 1)],
        coerce=int,
        widget=forms.RadioSelect,
        error_messages={"required": _("Give one to five stars.")},
    )
    title = forms.CharField(label=_("Title"), max_length=MAX_TITLE, required=False)
    content = forms.CharField(
        label=_("Your review"),
        max_length=MAX_CONTENT,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=_("What you used it for, what went well, what did not. It is shown with your name."),
    )

    @staticmethod
    def initial_of(review: Review) -> dict[str, Any]:
        return {"rating": review.rating, "title": review.title, "content": review.content}


class ReplyForm(OfServices):
    content = forms.CharField(
        label=_("Reply"),
        max_length=MAX_REPLY,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("Everybody reads it below the review, as said by the publisher."),
    )


class ReportForm(OfServices):
    reason = forms.ChoiceField(label=_("What is wrong?"), widget=forms.RadioSelect)
    note = forms.CharField(
        label=_("In your words"),
        max_length=MAX_NOTE,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Only the staff of this site read it."),
    )

    def __init__(self, *args: Any, reasons: tuple[Report.Reason, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].choices = [(reason.value, reason.label) for reason in reasons]  # type: ignore[attr-defined]
