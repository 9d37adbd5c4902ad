"""What is typed into the steps of publishing and not saved, and when the end of a version was announced."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import common.ids


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_factors_and_clients_of_tokens"),
        ("marketplace", "0008_one_price_in_force"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="UnsavedStep",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "step",
                    models.CharField(
                        choices=[("basics", "Basics"), ("endpoint", "Endpoint"), ("price", "Price")], max_length=8
                    ),
                ),
                ("values", models.JSONField()),
                ("updated_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="modelversion",
            name="sunset_announced_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="modelversion",
            index=models.Index(
                condition=models.Q(("sunset_on__isnull", False)), fields=["sunset_on"], name="model_version_sunset"
            ),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("sunset_announced_at", None), ("sunset_on", None)),
                    models.Q(
                        ("published_at__isnull", False),
                        ("sunset_announced_at__isnull", False),
                        ("sunset_on__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="model_version_sunset_is_announced",
            ),
        ),
        migrations.AddField(
            model_name="unsavedstep",
            name="ai_model",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="unsaved_steps",
                to="marketplace.aimodel",
            ),
        ),
        migrations.AddField(
            model_name="unsavedstep",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="unsaved_steps", to="accounts.organization"
            ),
        ),
        migrations.AddField(
            model_name="unsavedstep",
            name="user",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="unsaved_steps",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="unsavedstep",
            constraint=models.UniqueConstraint(fields=("ai_model", "step"), name="unsaved_step_once_per_listing"),
        ),
        migrations.AddConstraint(
            model_name="unsavedstep",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ai_model", None)),
                fields=("organization", "user"),
                name="unsaved_step_once_per_new_listing",
            ),
        ),
        migrations.AddConstraint(
            model_name="unsavedstep",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ai_model__isnull", False), ("user", None)),
                    models.Q(("ai_model", None), ("step", "basics"), ("user__isnull", False)),
                    _connector="OR",
                ),
                name="unsaved_step_is_of_a_listing_or_a_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="unsavedstep",
            constraint=models.CheckConstraint(
                condition=models.Q(("step__in", ["basics", "endpoint", "price"])), name="unsaved_step_step"
            ),
        ),
    ]
