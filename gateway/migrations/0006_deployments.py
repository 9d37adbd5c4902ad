"""Organizations' own names for models, and calls that a fallback was made instead of."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import common.ids

LINK = """
CREATE FUNCTION gateway_link_fallback(failed uuid, served uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  -- The second of two calls was made because the first had failed: each names the other, once.
  UPDATE gateway_invocation
     SET fallback_id = CASE id WHEN failed THEN served END, fallback_of_id = CASE id WHEN served THEN failed END
   WHERE id IN (failed, served) AND fallback_id IS NULL AND fallback_of_id IS NULL
$$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_factors_and_clients_of_tokens"),
        ("gateway", "0005_calls_of_deployments"),
        ("marketplace", "0004_license_context_and_measurements"),
    ]

    operations = [
        migrations.CreateModel(
            name="Deployment",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.SlugField(max_length=60)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "Active"), ("paused", "Paused")], default="active", max_length=6
                    ),
                ),
                ("rate_limit", models.PositiveIntegerField(blank=True, null=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "ai_model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deployments",
                        to="marketplace.aimodel",
                    ),
                ),
                (
                    "fallback",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="fallback_of_deployments",
                        to="marketplace.aimodel",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deployments",
                        to="accounts.organization",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deployments",
                        to="marketplace.modelversion",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["organization", "-id"], name="deployment_of_organization")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("deleted_at", None)),
                        fields=("organization", "name"),
                        name="deployment_name_once_per_organization",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("name__regex", "^[a-z0-9](-?[a-z0-9])*$")), name="deployment_name_shape"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["active", "paused"])), name="deployment_status"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("rate_limit", None), ("rate_limit__gt", 0), _connector="OR"),
                        name="deployment_rate_limit",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("fallback", None),
                            models.Q(("fallback", models.F("ai_model")), _negated=True),
                            _connector="OR",
                        ),
                        name="deployment_falls_back_elsewhere",
                    ),
                ],
            },
        ),
        migrations.SeparateDatabaseAndState(  # the column is there
            state_operations=[
                migrations.RemoveField("invocation", "deployment_id"),
                migrations.AddField(
                    "invocation",
                    "deployment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="invocations",
                        to="gateway.deployment",
                    ),
                ),
            ]
        ),
        migrations.AddField("invocation", "fallback_id", models.UUIDField(null=True)),
        migrations.AddField("invocation", "fallback_of_id", models.UUIDField(null=True)),
        migrations.RunSQL(LINK, "DROP FUNCTION gateway_link_fallback(uuid, uuid);"),
    ]
