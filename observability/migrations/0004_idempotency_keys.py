"""Idempotency keys, and the answers that are kept for a day."""

from django.db import migrations, models

import common.clock
import common.ids


class Migration(migrations.Migration):
    dependencies = [
        ("observability", "0003_request_log"),
        ("accounts", "0002_clock_and_budget_windows"),  # clock_now()
    ]

    operations = [
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("organization_id", models.UUIDField()),
                ("key_hash", models.BinaryField(editable=False, max_length=32)),
                ("fingerprint", models.BinaryField(editable=False, max_length=32)),
                ("call_id", models.UUIDField(null=True)),
                ("claimed_at", models.DateTimeField(db_default=common.clock.ClockNow(), editable=False)),
                ("sealed_answer", models.BinaryField(editable=False, null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["claimed_at"], name="idempotency_key_by_age")],
                "constraints": [
                    models.UniqueConstraint(fields=("organization_id", "key_hash"), name="idempotency_key_held_once")
                ],
            },
        ),
        # Sealed answers do not shrink any further: let the database not try.
        migrations.RunSQL(
            "ALTER TABLE observability_idempotencykey ALTER COLUMN sealed_answer SET STORAGE EXTERNAL",
            migrations.RunSQL.noop,
        ),
    ]
