import django.db.models.deletion
from django.db import migrations, models

from common.partitions import CreatePartitionedModel


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        ("marketplace", "0001_initial"),
    ]

    operations = [
        CreatePartitionedModel(
            name="UsageEvent",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("version_id", models.UUIDField()),
                ("price_id", models.UUIDField()),
                ("mode", models.CharField(max_length=4)),
                ("input_tokens", models.BigIntegerField(default=0)),
                ("output_tokens", models.BigIntegerField(default=0)),
                ("cost_nano", models.BigIntegerField()),
                ("occurred_at", models.DateTimeField()),
                ("posted_at", models.DateTimeField(blank=True, null=True)),
                (
                    "ai_model",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="usage_events",
                        to="marketplace.aimodel",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="usage_events",
                        to="accounts.organization",
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
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("input_tokens__gte", 0), ("output_tokens__gte", 0)),
                        name="usage_event_quantity_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("cost_nano__gte", 0)), name="usage_event_cost_not_negative"
                    ),
                ],
            },
        ),
    ]
