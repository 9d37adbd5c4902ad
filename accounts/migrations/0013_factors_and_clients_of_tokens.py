"""When a second factor was shown for a sign-in of a program; and indexes for what is asked at every guess and refresh."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_sessions_anew"),
    ]

    operations = [
        migrations.AddField("refreshfamily", "factor_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddIndex("refreshfamily", models.Index(fields=["user", "client"], name="refresh_family_of_client")),
        migrations.AddIndex("refreshtoken", models.Index(fields=["expires_at"], name="refresh_token_by_end")),
        migrations.AddIndex(
            "refreshtoken",
            models.Index(fields=["family"], condition=Q(sealed__isnull=False), name="refresh_token_sealed"),
        ),
    ]
