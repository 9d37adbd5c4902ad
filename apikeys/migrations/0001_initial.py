import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="APIKey",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("mode", models.CharField(choices=[("live", "Live"), ("test", "Test")], default="live", max_length=4)),
                ("prefix", models.CharField(max_length=16)),
                ("last_four", models.CharField(max_length=4)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("pepper_id", models.CharField(max_length=32)),
                ("previous_digest", models.BinaryField(blank=True, max_length=32, null=True, unique=True)),
                ("overlap_until", models.DateTimeField(blank=True, null=True)),
                (
                    "permissions",
                    django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=24), size=None),
                ),
                (
                    "allowed_models",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "allowed_ips",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=49), blank=True, default=list, size=None
                    ),
                ),
                ("rate_limit", models.PositiveIntegerField(blank=True, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="api_keys", to="accounts.organization"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="api_keys",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "indexes": [models.Index(fields=["organization", "-id"], name="api_key_of_organization")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name", ""), _negated=True), name="api_key_name_not_empty"
                    ),
                    models.CheckConstraint(condition=models.Q(("mode__in", ["live", "test"])), name="api_key_mode"),
                    models.CheckConstraint(
                        condition=models.Q(("permissions__len__gt", 0)), name="api_key_has_a_permission"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "permissions__contained_by",
                                [
                                    "models:read",
                                    "models:write",
                                    "models:invoke",
                                    "reviews:write",
                                    "deployments:read",
                                    "deployments:write",
                                    "keys:read",
                                    "keys:write",
                                    "analytics:read",
                                    "billing:read",
                                    "billing:write",
                                    "webhooks:read",
                                    "webhooks:write",
                                ],
                            )
                        ),
                        name="api_key_permissions_are_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("rate_limit", None), ("rate_limit__gt", 0), _connector="OR"),
                        name="api_key_rate_limit",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("overlap_until", None), ("previous_digest", None)),
                            models.Q(("overlap_until__isnull", False), ("previous_digest__isnull", False)),
                            _connector="OR",
                        ),
                        name="api_key_overlap_has_an_end",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("previous_digest", None),
                            models.Q(("previous_digest", models.F("digest")), _negated=True),
                            _connector="OR",
                        ),
                        name="api_key_rotation_changes_it",
                    ),
                ],
            },
        ),
    ]
