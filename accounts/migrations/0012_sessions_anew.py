"""Sessions are found by a hash of their key from here on. Nobody can use those from before, so they do not stay."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_closed_accounts"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            "DELETE FROM accounts_browsersession; DELETE FROM django_session", reverse_sql=migrations.RunSQL.noop
        ),
    ]
