"""How many calls a minute all keys of an organization together may send, where staff set another number."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_an_organization_keeps_an_owner"),
    ]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="rate_limit",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="organization",
            constraint=models.CheckConstraint(
                condition=models.Q(("rate_limit", None), ("rate_limit__gt", 0), _connector="OR"),
                name="organization_rate_limit",
            ),
        ),
    ]
