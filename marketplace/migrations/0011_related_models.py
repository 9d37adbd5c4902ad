"""An index for what else there is for the same task."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0010_logos")]

    operations = [
        migrations.AddIndex(
            "aimodel",
            models.Index(
                fields=["category", "-demand", "-id"],
                condition=models.Q(status__in=("published", "deprecated"), is_callable=True),
                name="ai_model_related",
            ),
        )
    ]
