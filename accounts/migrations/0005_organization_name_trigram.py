"""The search field suggests publishers by names that look like what is typed."""

import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_budget_windows_end")]

    operations = [
        migrations.AddIndex(
            model_name="organization",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["name"], name="organization_name_trigram", opclasses=["gin_trgm_ops"]
            ),
        ),
    ]
