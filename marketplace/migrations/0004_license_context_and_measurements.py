"""What a listing says about its license and its context, and what its calls have shown."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_budget_windows_end"),
        ("marketplace", "0003_search_words"),
    ]

    operations = [
        migrations.CreateModel(
            name="Measurement",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("requests", models.PositiveIntegerField()),
                ("sample_size", models.PositiveIntegerField()),
                ("latency_p50_ms", models.PositiveIntegerField(null=True)),
                ("latency_p95_ms", models.PositiveIntegerField(null=True)),
                ("first_token_p50_ms", models.PositiveIntegerField(null=True)),
                ("first_token_p95_ms", models.PositiveIntegerField(null=True)),
                ("tokens_per_second", models.DecimalField(decimal_places=1, max_digits=9, null=True)),
                ("typical_input_tokens", models.PositiveIntegerField(null=True)),
                ("typical_output_tokens", models.PositiveIntegerField(null=True)),
                ("uptime_bp", models.PositiveSmallIntegerField(null=True)),
                ("recent_uptime_bp", models.PositiveSmallIntegerField(null=True)),
                (
                    "days",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("ok", "hardly a failure"),
                                ("warn", "some failures"),
                                ("bad", "many failures"),
                                ("none", "too few requests"),
                            ],
                            max_length=4,
                        ),
                        size=90,
                    ),
                ),
                ("measured_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="aimodel",
            name="context_tokens",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="latency_order",
            field=models.PositiveIntegerField(default=2147483647, editable=False),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="license",
            field=models.CharField(blank=True, max_length=60),
        ),
        migrations.AddIndex(
            model_name="aimodel",
            index=models.Index(
                condition=models.Q(("status__in", ("published", "deprecated"))),
                fields=["latency_order", "-id"],
                name="ai_model_fastest",
            ),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("context_tokens", None), ("context_tokens__gt", 0), _connector="OR"),
                name="ai_model_context_positive",
            ),
        ),
        migrations.AddField(
            model_name="measurement",
            name="ai_model",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="measurement", to="marketplace.aimodel"
            ),
        ),
        migrations.AddConstraint(
            model_name="measurement",
            constraint=models.CheckConstraint(
                condition=models.Q(("sample_size__lte", models.F("requests"))), name="measurement_sample_of_requests"
            ),
        ),
        migrations.AddConstraint(
            model_name="measurement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("sample_size__gte", 50),
                    models.Q(
                        ("first_token_p50_ms", None),
                        ("first_token_p95_ms", None),
                        ("latency_p50_ms", None),
                        ("latency_p95_ms", None),
                        ("recent_uptime_bp", None),
                        ("tokens_per_second", None),
                        ("typical_input_tokens", None),
                        ("typical_output_tokens", None),
                        ("uptime_bp", None),
                    ),
                    _connector="OR",
                ),
                name="measurement_rests_on_enough_calls",
            ),
        ),
        migrations.AddConstraint(
            model_name="measurement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("uptime_bp", None), ("uptime_bp__lte", 10000), _connector="OR"),
                    models.Q(("recent_uptime_bp", None), ("recent_uptime_bp__lte", 10000), _connector="OR"),
                ),
                name="measurement_uptime_at_most_all",
            ),
        ),
        migrations.AddConstraint(
            model_name="measurement",
            constraint=models.CheckConstraint(condition=models.Q(("days__len", 90)), name="measurement_ninety_days"),
        ),
        migrations.AddConstraint(
            model_name="measurement",
            constraint=models.CheckConstraint(
                condition=models.Q(("days__contained_by", ["ok", "warn", "bad", "none"])), name="measurement_known_days"
            ),
        ),
    ]
