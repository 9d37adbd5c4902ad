"""When people are told that a key expires, and which clients used it from where."""

import django.db.models.deletion
from django.db import migrations, models

import common.ids

# Keys that stand already: the reminders that are still to come.
REMIND = """
UPDATE apikeys_apikey SET remind_at = CASE
    WHEN expires_at - interval '7 days' > clock_now() THEN expires_at - interval '7 days'
    ELSE expires_at - interval '1 day' END
 WHERE revoked_at IS NULL AND expires_at - interval '1 day' > clock_now()
"""


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0001_initial"), ("accounts", "0002_clock_and_budget_windows")]

    operations = [
        migrations.AddField("apikey", "remind_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("apikey", "last_used_address", models.CharField(blank=True, db_default="", max_length=45)),
        migrations.AddField("apikey", "last_used_client", models.CharField(blank=True, db_default="", max_length=60)),
        migrations.RunSQL(REMIND, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "apikey",
            models.CheckConstraint(
                condition=models.Q(("remind_at", None), ("expires_at__isnull", False), _connector="OR"),
                name="api_key_reminder_of_an_end",
            ),
        ),
        migrations.AddIndex(
            "apikey",
            models.Index(
                condition=models.Q(("remind_at__isnull", False)), fields=["remind_at"], name="api_key_to_remind"
            ),
        ),
        migrations.AddIndex("apikey", models.Index(fields=["pepper_id"], name="api_key_of_pepper")),
        migrations.CreateModel(
            name="KeyClient",
            fields=[
                (
                    "id",
                    models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("client", models.CharField(blank=True, max_length=60)),
                ("address", models.CharField(blank=True, max_length=45)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="clients",
                        to="apikeys.apikey",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["key", "-last_seen_at"], name="client_of_key"),
                    models.Index(fields=["last_seen_at"], name="client_by_last_use"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("key", "client", "address"), name="client_once_per_key")
                ],
            },
        ),
    ]
