from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_clock_and_budget_windows"),
        ("apikeys", "0001_initial"),
        ("gateway", "0003_sweep_mark"),
        ("marketplace", "0002_immutability_and_search"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="invocation",
            index=models.Index(
                condition=models.Q(("api_key__isnull", True)),
                fields=["user", "ai_model", "-id"],
                name="invocation_tried_by",
            ),
        ),
    ]
