from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_email_of_codes"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="budget",
            name="budget_window_has_an_end_unless_lifetime",
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ends_at", None), ("window", "lifetime")),
                    models.Q(
                        models.Q(("window", "lifetime"), _negated=True),
                        ("ends_at__gt", models.F("starts_at")),
                        ("ends_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="budget_window_has_an_end_unless_lifetime",
            ),
        ),
    ]
