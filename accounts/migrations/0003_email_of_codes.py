import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_clock_and_budget_windows"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="emailcode",
            name="email_code_newest",
        ),
        migrations.AddField(
            model_name="emailcode",
            name="email",
            field=models.EmailField(default="", max_length=254),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="refreshtoken",
            name="parent",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="successor",
                to="accounts.refreshtoken",
            ),
        ),
        migrations.AddIndex(
            model_name="emailcode",
            index=models.Index(fields=["user", "purpose", "-expires_at"], name="email_code_newest"),
        ),
        migrations.AddConstraint(
            model_name="emailcode",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="email_code_email_is_lower_case",
            ),
        ),
    ]
