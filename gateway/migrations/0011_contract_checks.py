"""Runs of the contract check."""

import django.db.models.deletion
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0010_a_leaner_batch"),
    ]

    operations = [
        migrations.CreateModel(
            name="ContractCheck",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("passed", "Passed"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=7,
                    ),
                ),
                (
                    "reason",
                    models.CharField(choices=[("asked", "Asked for"), ("schedule", "By schedule")], max_length=8),
                ),
                ("steps", models.JSONField(default=list)),
                ("created_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="checks", to="gateway.endpoint"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["endpoint", "-id"], name="contract_check_of_endpoint")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["queued", "running", "passed", "failed"])),
                        name="contract_check_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at", None), ("status__in", ["queued", "running"])),
                            models.Q(
                                ("ended_at__isnull", False),
                                ("started_at__isnull", False),
                                ("status__in", ["passed", "failed"]),
                            ),
                            _connector="OR",
                        ),
                        name="contract_check_ended_once_decided",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["queued", "running"])),
                        fields=("endpoint",),
                        name="contract_check_one_at_a_time",
                    ),
                ],
            },
        ),
    ]
