"""Which file is a listing's picture."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0009_unsaved_steps_and_announced_sunsets")]

    operations = [migrations.AddField("aimodel", "logo", models.UUIDField(editable=False, null=True))]
