"""Accounts that their people closed, and those of which nothing personal is left."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_developer_requests"),
    ]

    operations = [
        migrations.AddField("user", "closed_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("user", "erased_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddConstraint(
            "user",
            models.CheckConstraint(condition=Q(closed_at=None) | Q(is_active=False), name="user_closed_is_not_active"),
        ),
        migrations.AddConstraint(
            "user",
            models.CheckConstraint(
                condition=Q(erased_at=None) | Q(closed_at__isnull=False), name="user_erased_after_closing"
            ),
        ),
        migrations.AddIndex(
            "user",
            models.Index(
                condition=Q(closed_at__isnull=False, erased_at=None),
                fields=["closed_at"],
                name="user_waits_to_be_erased",
            ),
        ),
    ]
