"""Reviews, replies, votes and reports."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0013_factors_and_clients_of_tokens"),
        ("marketplace", "0007_changes_for_the_index"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Review",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("rating", models.PositiveSmallIntegerField()),
                ("title", models.CharField(blank=True, max_length=120)),
                ("content", models.TextField(max_length=5000)),
                ("verified_calls", models.PositiveIntegerField()),
                ("helpful_count", models.PositiveIntegerField(default=0, editable=False)),
                ("hidden_at", models.DateTimeField(blank=True, null=True)),
                ("hidden_reason", models.CharField(blank=True, max_length=1000)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                (
                    "ai_model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="reviews", to="marketplace.aimodel"
                    ),
                ),
                (
                    "author",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="reviews", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.organization"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="marketplace.modelversion",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Report",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("spam", "Advertising or spam"),
                            ("abuse", "Insults, threats or hatred"),
                            ("off_topic", "Not about this model"),
                            ("conflict", "Written by somebody with an interest in it"),
                            ("personal_data", "Shows personal data"),
                            ("misleading", "The listing misleads or does not work as it says"),
                            ("harmful", "Made for harm, or illegal"),
                            ("rights", "Violates somebody’s rights"),
                            ("other", "Something else"),
                        ],
                        max_length=13,
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=1000)),
                (
                    "decision",
                    models.CharField(
                        blank=True,
                        choices=[(None, "Undecided"), ("upheld", "Upheld"), ("dismissed", "Dismissed")],
                        max_length=9,
                    ),
                ),
                ("decision_note", models.CharField(blank=True, max_length=1000)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "ai_model",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reports",
                        to="marketplace.aimodel",
                        verbose_name="model",
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "reporter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "review",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reports",
                        to="reviews.review",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Reply",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("content", models.TextField(max_length=3000)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                (
                    "author",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "review",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="reply", to="reviews.review"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "replies",
            },
        ),
        migrations.CreateModel(
            name="Edit",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("rating", models.PositiveSmallIntegerField()),
                ("title", models.CharField(blank=True, max_length=120)),
                ("content", models.TextField(max_length=5000)),
                ("written_at", models.DateTimeField()),
                ("replaced_at", models.DateTimeField()),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="edits", to="reviews.review"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Vote",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "review",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="votes",
                        to="reviews.review",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RatingSummary",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("stars", django.contrib.postgres.fields.ArrayField(base_field=models.PositiveIntegerField(), size=5)),
                (
                    "ai_model",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rating_summary",
                        to="marketplace.aimodel",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "rating summaries",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("stars__len", 5)), name="rating_summary_has_five_figures"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("id", models.F("ai_model"))), name="rating_summary_id_is_the_models"
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("hidden_at", None)), fields=["ai_model", "-id"], name="review_newest"
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("hidden_at", None)),
                fields=["ai_model", "-helpful_count", "-id"],
                name="review_helpful",
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("hidden_at", None)), fields=["ai_model", "-rating", "-id"], name="review_highest"
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("hidden_at", None)), fields=["ai_model", "rating", "-id"], name="review_lowest"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.UniqueConstraint(fields=("ai_model", "author"), name="review_once_per_model_and_author"),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(("rating__gte", 1), ("rating__lte", 5)), name="review_rating_within_1_and_5"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(("content", ""), _negated=True), name="review_content_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(("verified_calls__gte", 1)), name="review_rests_on_calls"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(("updated_at__gte", models.F("created_at"))), name="review_changed_after_written"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(("hidden_at__isnull", False), ("hidden_reason", ""), _connector="OR"),
                name="review_reason_of_a_hidden_one",
            ),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(condition=models.Q(("decision", "")), fields=["id"], name="report_undecided"),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ai_model", None), ("review__isnull", False)),
                    models.Q(("ai_model__isnull", False), ("review", None)),
                    _connector="OR",
                ),
                name="report_about_one_thing",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.UniqueConstraint(fields=("review", "reporter"), name="report_of_a_review_once_per_user"),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.UniqueConstraint(
                condition=models.Q(("decision", "")),
                fields=("ai_model", "reporter"),
                name="report_of_a_model_open_once_per_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("reason__in", ["spam", "abuse", "off_topic", "conflict", "personal_data", "other"]),
                        ("review__isnull", False),
                    ),
                    models.Q(
                        ("ai_model__isnull", False),
                        ("reason__in", ["misleading", "harmful", "rights", "personal_data", "spam", "other"]),
                    ),
                    _connector="OR",
                ),
                name="report_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(("note", ""), ("reason", "other"), _negated=True),
                name="report_of_something_else_says_what",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("decision", "")),
                    models.Q(("decided_at__isnull", False), ("decision__in", ["upheld", "dismissed"])),
                    _connector="OR",
                ),
                name="report_decided_at_an_instant",
            ),
        ),
        migrations.AddConstraint(
            model_name="reply",
            constraint=models.CheckConstraint(
                condition=models.Q(("content", ""), _negated=True), name="review_reply_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="reply",
            constraint=models.CheckConstraint(
                condition=models.Q(("updated_at__gte", models.F("created_at"))), name="review_reply_in_order"
            ),
        ),
        migrations.AddConstraint(
            model_name="edit",
            constraint=models.CheckConstraint(
                condition=models.Q(("replaced_at__gte", models.F("written_at"))), name="review_edit_in_order"
            ),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.UniqueConstraint(fields=("review", "user"), name="review_vote_once_per_user"),
        ),
    ]
