"""Reports of leaked keys that were received, so that each counts once."""

import django.db.models.functions.datetime
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0002_reminders_and_clients")]

    operations = [
        migrations.CreateModel(
            name="LeakReport",
            fields=[
                (
                    "id",
                    models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("partner", models.CharField(max_length=100)),
                ("body_hash", models.BinaryField(max_length=32, unique=True)),
                ("leaks", models.PositiveIntegerField()),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={"indexes": [models.Index(fields=["received_at"], name="leak_report_by_age")]},
        ),
    ]
