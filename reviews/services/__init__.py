"""What changes reviews, and what they add up to."""

from reviews.services.answering import delete_reply, reply, set_helpful
from reviews.services.moderation import (
    DECIDE,
    MODERATE,
    SEE_HIDDEN,
    decide_report,
    hide_review,
    report_model,
    report_review,
    show_review,
)
from reviews.services.summary import Summary, first_reply_seconds, summary_of
from reviews.services.writing import COUNTED, delete_review, edit_review, may_review, post_review

__all__ = [
    "COUNTED",
    "DECIDE",
    "MODERATE",
    "SEE_HIDDEN",
    "Summary",
    "decide_report",
    "delete_reply",
    "delete_review",
    "edit_review",
    "first_reply_seconds",
    "hide_review",
    "may_review",
    "post_review",
    "reply",
    "report_model",
    "report_review",
    "set_helpful",
    "show_review",
    "summary_of",
]
