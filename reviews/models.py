"""What people say of models they have used: reviews, replies, votes, and reports to the staff."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from common.ids import encode, uuid7
from reviews.querysets import ReportQuerySet, ReviewQuerySet

STARS = 5
MAX_TITLE, MAX_CONTENT, MAX_REPLY, MAX_NOTE = 120, 5_000, 3_000, 1_000


class Review(models.Model):
    """What one person thinks of a model, resting on calls that their organization made.

    A hidden one is seen by its author and the staff, and counts nowhere. Triggers refuse the publisher's own people,
    and keep the figures of `RatingSummary` and of the listing in the same transaction.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    ai_model = models.ForeignKey("marketplace.AIModel", models.CASCADE, related_name="reviews")
    author = models.ForeignKey("accounts.User", models.CASCADE, related_name="reviews")
    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="+")  # whose calls count
    rating = models.PositiveSmallIntegerField()
    title = models.CharField(max_length=MAX_TITLE, blank=True)
    content = models.TextField(max_length=MAX_CONTENT)
    verified_calls = models.PositiveIntegerField()  # settled ones, live, when it was written; counted to a ceiling
    version = models.ForeignKey("marketplace.ModelVersion", models.SET_NULL, null=True, related_name="+")  # last called
    helpful_count = models.PositiveIntegerField(default=0, editable=False)  # kept by a trigger
    hidden_at = models.DateTimeField(null=True, blank=True)
    hidden_reason = models.CharField(max_length=MAX_NOTE, blank=True)  # told to its author
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()  # when its author last changed what it says

    objects = ReviewQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ai_model", "author"], name="review_once_per_model_and_author"),
            models.CheckConstraint(condition=Q(rating__gte=1, rating__lte=STARS), name="review_rating_within_1_and_5"),
            models.CheckConstraint(condition=~Q(content=""), name="review_content_not_empty"),
            models.CheckConstraint(condition=Q(verified_calls__gte=1), name="review_rests_on_calls"),
            models.CheckConstraint(condition=Q(updated_at__gte=F("created_at")), name="review_changed_after_written"),
            models.CheckConstraint(
                condition=Q(hidden_at__isnull=False) | Q(hidden_reason=""), name="review_reason_of_a_hidden_one"
            ),
        ]
        indexes = [
            # One for each order of the list.
            *(
                models.Index(fields=["ai_model", *fields], condition=Q(hidden_at=None), name=f"review_{name}")
                for name, fields in {
                    "newest": ["-id"],
                    "helpful": ["-helpful_count", "-id"],
                    "highest": ["-rating", "-id"],
                    "lowest": ["rating", "-id"],
                }.items()
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("rev", self.id)

    @property
    def is_edited(self) -> bool:
        return self.updated_at > self.created_at

    @property
    def answer(self) -> Reply | None:
        """The publisher's reply, if there is one; without a query after `ReviewQuerySet.detailed`."""
        return getattr(self, "reply", None)


class Edit(models.Model):
    """What a review said before its author changed it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    review = models.ForeignKey(Review, models.CASCADE, related_name="edits")
    rating = models.PositiveSmallIntegerField()
    title = models.CharField(max_length=MAX_TITLE, blank=True)
    content = models.TextField(max_length=MAX_CONTENT)
    written_at = models.DateTimeField()
    replaced_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(replaced_at__gte=F("written_at")), name="review_edit_in_order"),
        ]

    def __str__(self) -> str:
        return encode("rev", self.review_id)


class Reply(models.Model):
    """What the publisher answers to a review."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    review = models.OneToOneField(Review, models.CASCADE, related_name="reply")
    author = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")
    content = models.TextField(max_length=MAX_REPLY)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "replies"
        constraints = [
            models.CheckConstraint(condition=~Q(content=""), name="review_reply_not_empty"),
            models.CheckConstraint(condition=Q(updated_at__gte=F("created_at")), name="review_reply_in_order"),
        ]

    def __str__(self) -> str:
        return encode("rev", self.review_id)


class Vote(models.Model):
    """Somebody found a review helpful."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    review = models.ForeignKey(Review, models.CASCADE, related_name="votes", db_index=False)
    user = models.ForeignKey("accounts.User", models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["review", "user"], name="review_vote_once_per_user")]

    def __str__(self) -> str:
        return encode("rev", self.review_id)


class RatingSummary(models.Model):
    """How many visible reviews of a model give how many stars. Kept by a trigger; its id is the model's."""

    id = models.UUIDField(primary_key=True, editable=False)
    ai_model = models.OneToOneField("marketplace.AIModel", models.CASCADE, related_name="rating_summary")
    stars = ArrayField(models.PositiveIntegerField(), size=STARS)  # of one star first

    class Meta:
        verbose_name_plural = "rating summaries"
        constraints = [
            models.CheckConstraint(condition=Q(stars__len=STARS), name="rating_summary_has_five_figures"),
            models.CheckConstraint(condition=Q(id=F("ai_model")), name="rating_summary_id_is_the_models"),
        ]

    def __str__(self) -> str:
        return ", ".join(map(str, self.stars))


class Report(models.Model):
    """Somebody tells the staff that a review, or a model, breaks the rules; later what the staff decided."""

    class Reason(models.TextChoices):
        SPAM = "spam", _("Advertising or spam")
        ABUSE = "abuse", _("Insults, threats or hatred")
        OFF_TOPIC = "off_topic", _("Not about this model")
        CONFLICT = "conflict", _("Written by somebody with an interest in it")
        PERSONAL_DATA = "personal_data", _("Shows personal data")
        MISLEADING = "misleading", _("The listing misleads or does not work as it says")
        HARMFUL = "harmful", _("Made for harm, or illegal")
        RIGHTS = "rights", _("Violates somebody’s rights")
        OTHER = "other", _("Something else")

    class Decision(models.TextChoices):
        UPHELD = "upheld", _("Upheld")
        DISMISSED = "dismissed", _("Dismissed")
        __empty__ = _("Undecided")

    OF_REVIEWS = (Reason.SPAM, Reason.ABUSE, Reason.OFF_TOPIC, Reason.CONFLICT, Reason.PERSONAL_DATA, Reason.OTHER)
    OF_MODELS = (Reason.MISLEADING, Reason.HARMFUL, Reason.RIGHTS, Reason.PERSONAL_DATA, Reason.SPAM, Reason.OTHER)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    review = models.ForeignKey(Review, models.CASCADE, null=True, blank=True, related_name="reports")
    ai_model = models.ForeignKey(
        "marketplace.AIModel", models.CASCADE, null=True, blank=True, related_name="reports", verbose_name=_("model")
    )
    reporter = models.ForeignKey("accounts.User", models.CASCADE, related_name="+")
    reason = models.CharField(max_length=13, choices=Reason)
    note = models.CharField(max_length=MAX_NOTE, blank=True)
    decision = models.CharField(max_length=9, choices=Decision, blank=True)
    decision_note = models.CharField(max_length=MAX_NOTE, blank=True)
    decided_by = models.ForeignKey("accounts.User", models.SET_NULL, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ReportQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(review__isnull=False, ai_model=None) | Q(review=None, ai_model__isnull=False),
                name="report_about_one_thing",
            ),
            models.UniqueConstraint(fields=["review", "reporter"], name="report_of_a_review_once_per_user"),
            models.UniqueConstraint(
                fields=["ai_model", "reporter"], condition=Q(decision=""), name="report_of_a_model_open_once_per_user"
            ),
            models.CheckConstraint(
                condition=Q(
                    review__isnull=False,
                    reason__in=[
                        "spam",
                        "abuse",
                        "off_topic",
                        "conflict",
                        "personal_data",
                        "other",
                    ],
                )
                | Q(
                    ai_model__isnull=False,
                    reason__in=[
                        "misleading",
                        "harmful",
                        "rights",
                        "personal_data",
                        "spam",
                        "other",
                    ],
                ),
                name="report_reason",
            ),
            models.CheckConstraint(condition=~Q(reason="other", note=""), name="report_of_something_else_says_what"),
            models.CheckConstraint(
                condition=Q(decision="", decided_at=None)
                | Q(decision__in=["upheld", "dismissed"], decided_at__isnull=False),
                name="report_decided_at_an_instant",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(decision=""), name="report_undecided")]

    def __str__(self) -> str:
        return encode("rpt", self.id)
