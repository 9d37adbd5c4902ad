"""How often, and when last, an organization called a model: reviews rest on that."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [
        migrations.AddIndex(
            model_name="usageevent",
            index=models.Index(
                condition=models.Q(("mode", "live")),
                fields=["organization", "ai_model", "id"],
                name="usage_event_of_customer",
            ),
        ),
    ]
