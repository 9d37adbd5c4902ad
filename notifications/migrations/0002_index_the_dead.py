"""Staff see at once which messages were given up."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_initial")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(condition=Q(("state", "dead")), fields=["id"], name="message_dead"),
        ),
    ]
