"""What contract checks and reviews by the staff say of a listing, and when it ends."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_factors_and_clients_of_tokens"),
        ("marketplace", "0005_orders_of_the_catalogue"),
    ]

    operations = [
        migrations.AddField(
            model_name="aimodel",
            name="check_passed",
            field=models.BooleanField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="checked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="degraded_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="review_note",
            field=models.TextField(blank=True, max_length=2000),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="reviewed",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="sunset_on",
            field=models.DateField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="sunset_on",
            field=models.DateField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="aimodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("check_passed", None), ("checked_at", None)),
                    models.Q(("check_passed__isnull", False), ("checked_at__isnull", False)),
                    _connector="OR",
                ),
                name="ai_model_check_has_an_end",
            ),
        ),
    ]
