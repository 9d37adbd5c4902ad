import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="AIModel",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("slug", models.SlugField(max_length=60)),
                ("name", models.CharField(max_length=120)),
                ("description", models.TextField(max_length=20000)),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("chat", "Chat"),
                            ("text-generation", "Text generation"),
                            ("text-classification", "Text classification"),
                            ("language-identification", "Language identification"),
                            ("embeddings", "Embeddings"),
                            ("translation", "Translation"),
                            ("summarization", "Summarization"),
                            ("code", "Code"),
                            ("image-generation", "Image generation"),
                            ("image-classification", "Image classification"),
                            ("speech-to-text", "Speech to text"),
                            ("text-to-speech", "Text to speech"),
                            ("moderation", "Moderation"),
                            ("tabular", "Tabular data"),
                            ("other", "Other"),
                        ],
                        max_length=24,
                    ),
                ),
                (
                    "capabilities",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40), blank=True, default=list, size=None
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("in_review", "In review"),
                            ("rejected", "Rejected"),
                            ("published", "Published"),
                            ("deprecated", "Deprecated"),
                            ("suspended", "Suspended"),
                            ("archived", "Archived"),
                        ],
                        default="draft",
                        max_length=10,
                    ),
                ),
                ("published_at", models.DateTimeField(blank=True, null=True)),
                ("is_callable", models.BooleanField(default=False)),
                ("test_enabled", models.BooleanField(default=False)),
                ("is_demo", models.BooleanField(default=False)),
                ("rating_sum", models.PositiveIntegerField(default=0)),
                ("rating_count", models.PositiveIntegerField(default=0)),
                ("deployment_count", models.PositiveIntegerField(default=0)),
                ("popularity", models.BigIntegerField(default=0)),
                ("search_vector", django.contrib.postgres.search.SearchVectorField(editable=False, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "publisher",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="ai_models",
                        to="accounts.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "model",
            },
        ),
        migrations.CreateModel(
            name="ModelVersion",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("version", models.CharField(max_length=20)),
                ("input_schema", models.JSONField(default=dict)),
                ("output_schema", models.JSONField(default=dict)),
                ("changelog", models.TextField(blank=True, max_length=5000)),
                ("published_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "ai_model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="versions", to="marketplace.aimodel"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="aimodel",
            name="current_version",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="current_of",
                to="marketplace.modelversion",
            ),
        ),
        migrations.CreateModel(
            name="Price",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("type", models.CharField(choices=[("free", "Free"), ("paid", "Paid")], max_length=4)),
                ("amount_nano", models.BigIntegerField(blank=True, null=True)),
                (
                    "period",
                    models.CharField(
                        blank=True, choices=[("monthly", "Monthly"), ("yearly", "Yearly")], max_length=7, null=True
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("per_call_nano", models.BigIntegerField(blank=True, null=True)),
                ("input_nano_per_million", models.BigIntegerField(blank=True, null=True)),
                ("output_nano_per_million", models.BigIntegerField(blank=True, null=True)),
                ("included_calls", models.PositiveIntegerField(default=0)),
                ("effective_from", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "ai_model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="prices", to="marketplace.aimodel"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(fields=("ai_model", "version"), name="model_version_once_per_model"),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("version__regex", "^(0|[1-9]\\d{0,5})\\.(0|[1-9]\\d{0,5})\\.(0|[1-9]\\d{0,5})$")),
                name="model_version_is_semver",
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=django.contrib.postgres.indexes.GinIndex(fields=["search_vector"], name="ai_model_search"),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["name"], name="ai_model_name_trigram", opclasses=["gin_trgm_ops"]
            ),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(fields=["status", "-published_at", "-id"], name="ai_model_newest"),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(fields=["status", "-popularity", "-id"], name="ai_model_popular"),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(fields=["category", "status"], name="ai_model_category_status"),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.UniqueConstraint(fields=("publisher", "slug"), name="ai_model_slug_once_per_publisher"),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("slug__regex", "^[a-z0-9]([-.]?[a-z0-9])*$")), name="ai_model_slug_shape"
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="ai_model_name_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("description", ""), _negated=True), name="ai_model_description_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "category__in",
                        [
                            "chat",
                            "text-generation",
                            "text-classification",
                            "language-identification",
                            "embeddings",
                            "translation",
                            "summarization",
                            "code",
                            "image-generation",
                            "image-classification",
                            "speech-to-text",
                            "text-to-speech",
                            "moderation",
                            "tabular",
                            "other",
                        ],
                    )
                ),
                name="ai_model_category",
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["draft", "in_review", "rejected", "published", "deprecated", "suspended", "archived"],
                    )
                ),
                name="ai_model_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ("published", "deprecated")), _negated=True),
                    models.Q(("current_version__isnull", False), ("published_at__isnull", False)),
                    _connector="OR",
                ),
                name="ai_model_public_has_a_version_and_a_date",
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("rating_sum__gte", models.F("rating_count")),
                    (
                        "rating_sum__lte",
                        django.db.models.expressions.CombinedExpression(models.F("rating_count"), "*", models.Value(5)),
                    ),
                ),
                name="ai_model_rating_within_1_and_5",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.UniqueConstraint(fields=("ai_model", "effective_from"), name="price_once_per_instant"),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(condition=models.Q(("type__in", ["free", "paid"])), name="price_type"),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("type", "free"), _negated=True),
                    models.Q(
                        ("amount_nano", None),
                        ("included_calls", 0),
                        ("input_nano_per_million", None),
                        ("output_nano_per_million", None),
                        ("per_call_nano", None),
                    ),
                    _connector="OR",
                ),
                name="price_free_costs_nothing",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amount_nano", None), ("period", None)),
                    models.Q(("amount_nano__isnull", False), ("period__isnull", False)),
                    _connector="OR",
                ),
                name="price_amount_has_a_period",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(("period", None), ("period__in", ["monthly", "yearly"]), _connector="OR"),
                name="price_period",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano", None), ("amount_nano__gt", 0), _connector="OR"),
                name="price_amount_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("per_call_nano", None), ("per_call_nano__gte", 0), _connector="OR"),
                    models.Q(("input_nano_per_million", None), ("input_nano_per_million__gte", 0), _connector="OR"),
                    models.Q(("output_nano_per_million", None), ("output_nano_per_million__gte", 0), _connector="OR"),
                ),
                name="price_rates_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[A-Z]{3}$")), name="price_currency"
            ),
        ),
    ]
