"""Reviews, replies and reports as the API takes and shows them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from common.pagination import PageQuery
from common.rest import BooleanField, CharField, DateTimeField, IntegerField, Serializer, TypeIDField
from reviews.models import MAX_CONTENT, MAX_NOTE, MAX_REPLY, MAX_TITLE, STARS, Report
from reviews.services import Summary

#: What a list may be ordered by; the names of `review_…` indexes.
ORDERS = {
    "newest": ("-id",),
    "helpful": ("-helpful_count", "-id"),
    "highest": ("-rating", "-id"),
    "lowest": ("rating", "-id"),
}


class ReviewsQuery(PageQuery):
    sort = serializers.ChoiceField(choices=list(ORDERS), required=False, default="newest")
    rating = IntegerField(min_value=1, max_value=STARS, required=False, default=None, help_text="Only so many stars.")


class ReviewsApiQuery(ReviewsQuery):
    summary = BooleanField(required=False, default=False, help_text="Adds what the reviews add up to, as `summary`.")


class ReviewIn(Serializer):
    rating = IntegerField(min_value=1, max_value=STARS)
    content = CharField(max_length=MAX_CONTENT)
    title = CharField(max_length=MAX_TITLE, required=False, allow_blank=True, default="")


class ReplyIn(Serializer):
    content = CharField(max_length=MAX_REPLY)


class ReportIn(Serializer):
    """`note` is required with the reason `other`."""

    reason = serializers.ChoiceField(choices=Report.Reason.choices)
    note = CharField(max_length=MAX_NOTE, required=False, allow_blank=True, default="")


class ReplyOut(Serializer):
    content = CharField()
    created_at = DateTimeField()
    updated_at = DateTimeField()


class ReviewOut(Serializer):
    id = TypeIDField("rev")
    model_id = TypeIDField("mdl", source="ai_model_id")
    user_id = TypeIDField("usr", source="author_id")
    rating = IntegerField()
    title = CharField()
    content = CharField()
    verified_calls = IntegerField(help_text="Settled calls by the author's organization, counted to 100,000.")
    version = CharField(source="version.version", allow_null=True, help_text="The one that was called last.")
    helpful = IntegerField(source="helpful_count", help_text="How many found it helpful.")
    reply = ReplyOut(source="answer", allow_null=True)
    created_at = DateTimeField()
    updated_at = DateTimeField(help_text="When its author last changed it.")


class EditOut(Serializer):
    """What a review said from `written_at` until `replaced_at`."""

    rating = IntegerField()
    title = CharField()
    content = CharField()
    written_at = DateTimeField()
    replaced_at = DateTimeField()


class ReportOut(Serializer):
    id = TypeIDField("rpt")
    reason = serializers.ChoiceField(choices=Report.Reason.choices)
    note = CharField()


def summary_out(summary: Summary) -> dict[str, Any]:
    """`mean` is null without reviews; `bayesian_mean` is what `sort=rating` goes by."""
    return {
        "reviews": summary.count,
        "mean": summary.mean,
        "bayesian_mean": summary.bayesian_mean,
        "distribution": {str(star): count for star, count in enumerate(summary.stars, 1)},
    }
