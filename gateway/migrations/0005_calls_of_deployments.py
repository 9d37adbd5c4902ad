"""A place on a call for the deployment that it came by; `0010_a_leaner_batch` writes it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0004_index_of_runs_in_the_playground")]

    operations = [migrations.AddField("invocation", "deployment_id", models.UUIDField(null=True))]
