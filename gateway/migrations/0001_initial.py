import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.ids
from common.partitions import CreatePartitionedModel


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0002_clock_and_budget_windows"),
        ("apikeys", "0001_initial"),
        ("marketplace", "0002_immutability_and_search"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Endpoint",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("url", models.URLField(max_length=500)),
                (
                    "protocol",
                    models.CharField(
                        choices=[
                            ("json", "JSON: the model's input in, its output out"),
                            ("openai", "OpenAI-compatible"),
                        ],
                        max_length=10,
                    ),
                ),
                ("upstream_model", models.CharField(blank=True, max_length=120)),
                ("auth_header", models.CharField(default="Authorization", max_length=60)),
                ("sealed_secret", models.BinaryField(blank=True, null=True)),
                ("sealed_signing_key", models.BinaryField()),
                ("timeout_seconds", models.PositiveSmallIntegerField(default=60)),
                ("max_cost_nano", models.BigIntegerField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="endpoint",
                        to="marketplace.modelversion",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("protocol__in", ["json", "openai"])), name="endpoint_protocol"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("timeout_seconds__gte", 1), ("timeout_seconds__lte", 600)),
                        name="endpoint_timeout_within_600_s",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("max_cost_nano", None), ("max_cost_nano__gt", 0), _connector="OR"),
                        name="endpoint_max_cost_positive",
                    ),
                ],
            },
        ),
        CreatePartitionedModel(
            name="Invocation",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("state", models.CharField(choices=[("started", "Started"), ("final", "Final")], max_length=7)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("invoke", "Invoke"),
                            ("chat", "Chat completion"),
                            ("completion", "Completion"),
                            ("embedding", "Embeddings"),
                        ],
                        max_length=10,
                    ),
                ),
                ("mode", models.CharField(max_length=4)),
                ("is_streamed", models.BooleanField(default=False)),
                ("is_demo", models.BooleanField(default=False)),
                (
                    "budget_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                ("hold_nano", models.BigIntegerField()),
                ("started_at", models.DateTimeField()),
                ("beat_at", models.DateTimeField()),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "rule",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("free", "The model is free."),
                            ("test_mode", "The key is in test mode: nothing is charged."),
                            (
                                "usage_reported",
                                "The usage that the upstream reported, at the price when the call began.",
                            ),
                            ("usage_counted", "The upstream reported no usage; what was delivered was counted here."),
                            ("per_call", "One answered call, at the price when it began."),
                            ("upstream_error", "The upstream failed or could not be reached: nothing is charged."),
                            ("upstream_timeout", "The upstream did not answer in time: nothing is charged."),
                            (
                                "invalid_output",
                                "The answer was empty or did not fit the model's schema: nothing is charged.",
                            ),
                            ("not_sent", "The call ended before the upstream was contacted: nothing is charged."),
                            (
                                "orphan_void",
                                "The gateway stopped during the call and nothing proves delivery: nothing is charged.",
                            ),
                            ("demo", "Made-up usage of the demonstration."),
                        ],
                        max_length=24,
                    ),
                ),
                ("cost_nano", models.BigIntegerField(default=0)),
                ("overrun_nano", models.BigIntegerField(default=0)),
                ("input_tokens", models.BigIntegerField(default=0)),
                ("output_tokens", models.BigIntegerField(default=0)),
                ("usage_source", models.CharField(blank=True, max_length=8)),
                ("http_status", models.PositiveSmallIntegerField(null=True)),
                ("error_code", models.CharField(blank=True, max_length=40)),
                ("latency_ms", models.PositiveIntegerField(null=True)),
                ("first_token_ms", models.PositiveIntegerField(null=True)),
                (
                    "ai_model",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="invocations",
                        to="marketplace.aimodel",
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="apikeys.apikey",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="invocations",
                        to="accounts.organization",
                    ),
                ),
                (
                    "price",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="marketplace.price",
                    ),
                ),
                (
                    "publisher",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="marketplace.modelversion",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["organization", "-id"], name="invocation_of_organization")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cost_nano", 0), ("rule", ""), ("settled_at", None), ("state", "started")),
                            models.Q(
                                ("settled_at__isnull", False), ("state", "final"), models.Q(("rule", ""), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="invocation_final_once_settled",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("hold_nano__gte", 0)), name="invocation_hold_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("cost_nano__gte", 0), ("cost_nano__lte", models.F("hold_nano"))),
                        name="invocation_cost_within_its_hold",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("overrun_nano__gte", 0)), name="invocation_overrun_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("input_tokens__gte", 0), ("output_tokens__gte", 0)),
                        name="invocation_tokens_not_negative",
                    ),
                ],
            },
        ),
    ]
