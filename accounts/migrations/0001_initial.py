import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

import accounts.querysets
import common.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="User",
            fields=[
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("name", models.CharField(max_length=120)),
                (
                    "platform_role",
                    models.CharField(
                        choices=[("consumer", "Consumer"), ("developer", "Developer: may publish")],
                        default="consumer",
                        max_length=10,
                    ),
                ),
                ("developer_requested_at", models.DateTimeField(blank=True, null=True)),
                ("is_active", models.BooleanField(default=True)),
                ("is_staff", models.BooleanField(default=False)),
                ("session_version", models.PositiveIntegerField(default=1)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            managers=[
                ("objects", accounts.querysets.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "subject_kind",
                    models.CharField(
                        choices=[("organization", "Organization"), ("deployment", "Deployment"), ("key", "API key")],
                        max_length=12,
                    ),
                ),
                ("subject_id", models.UUIDField()),
                (
                    "purpose",
                    models.CharField(choices=[("spend_limit", "Spend limit"), ("credit", "Credit")], max_length=12),
                ),
                (
                    "window",
                    models.CharField(
                        choices=[("day", "Day"), ("week", "Week"), ("month", "Month"), ("lifetime", "Lifetime")],
                        max_length=8,
                    ),
                ),
                ("time_zone", models.CharField(default="UTC", max_length=64)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                ("limit", models.BigIntegerField()),
                ("spent", models.BigIntegerField(default=0)),
                ("held", models.BigIntegerField(default=0)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["subject_id", "starts_at"], name="budget_of_subject")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at", None)),
                        fields=("subject_id", "purpose", "window", "starts_at"),
                        name="budget_once_per_window",
                    ),
                    models.CheckConstraint(condition=models.Q(("limit__gte", 0)), name="budget_limit_not_negative"),
                    models.CheckConstraint(condition=models.Q(("spent__gte", 0)), name="budget_spent_not_negative"),
                    models.CheckConstraint(condition=models.Q(("held__gte", 0)), name="budget_held_not_negative"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ends_at", None), ("window", "lifetime")),
                            models.Q(
                                models.Q(("window", "lifetime"), _negated=True), ("ends_at__gt", models.F("starts_at"))
                            ),
                            _connector="OR",
                        ),
                        name="budget_window_has_an_end_unless_lifetime",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("subject_kind__in", ["organization", "deployment", "key"])),
                        name="budget_subject_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("purpose__in", ["spend_limit", "credit"])), name="budget_purpose"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("window__in", ["day", "week", "month", "lifetime"])), name="budget_window"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EmailCode",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "purpose",
                    models.CharField(
                        choices=[
                            ("verify_email", "Verify an e-mail address"),
                            ("login", "Log in"),
                            ("reset_password", "Reset a password"),
                        ],
                        max_length=14,
                    ),
                ),
                ("digest", models.BinaryField(max_length=32)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="email_codes",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "Owner"),
                            ("admin", "Admin"),
                            ("developer", "Developer"),
                            ("billing", "Billing"),
                            ("member", "Member"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Organization",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("slug", models.SlugField(max_length=40, unique=True)),
                ("name", models.CharField(max_length=120)),
                ("time_zone", models.CharField(default="UTC", max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "members",
                    models.ManyToManyField(
                        related_name="organizations", through="accounts.Membership", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "personal_owner",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="personal_organization",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="membership",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="memberships", to="accounts.organization"
            ),
        ),
        migrations.CreateModel(
            name="RefreshFamily",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("client", models.CharField(max_length=64)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=20)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="refresh_families",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "refresh families",
            },
        ),
        migrations.CreateModel(
            name="RefreshToken",
            fields=[
                ("id", models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField()),
                ("sealed", models.BinaryField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "family",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tokens", to="accounts.refreshfamily"
                    ),
                ),
                (
                    "parent",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="successor",
                        to="accounts.refreshtoken",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="user_email_is_lower_case",
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="user_name_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("platform_role__in", ["consumer", "developer"])), name="user_platform_role"
            ),
        ),
        migrations.AddIndex(
            model_name="emailcode",
            index=models.Index(fields=["user", "purpose", "-id"], name="email_code_newest"),
        ),
        migrations.AddIndex(
            model_name="emailcode",
            index=models.Index(fields=["digest"], name="email_code_digest"),
        ),
        migrations.AddConstraint(
            model_name="emailcode",
            constraint=models.CheckConstraint(
                condition=models.Q(("attempts__lte", 5)), name="email_code_attempts_limited"
            ),
        ),
        migrations.AddConstraint(
            model_name="emailcode",
            constraint=models.CheckConstraint(
                condition=models.Q(("purpose__in", ["verify_email", "login", "reset_password"])),
                name="email_code_purpose",
            ),
        ),
        migrations.AddConstraint(
            model_name="organization",
            constraint=models.CheckConstraint(
                condition=models.Q(("slug__regex", "^[a-z0-9](-?[a-z0-9])*$")), name="organization_slug_shape"
            ),
        ),
        migrations.AddConstraint(
            model_name="organization",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="organization_name_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(
                fields=("organization", "user"), name="membership_once_per_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["owner", "admin", "developer", "billing", "member"])),
                name="membership_role",
            ),
        ),
        migrations.AddConstraint(
            model_name="refreshfamily",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), ("revoked_at", None)),
                    models.Q(models.Q(("revoked_at", None), _negated=True), models.Q(("reason", ""), _negated=True)),
                    _connector="OR",
                ),
                name="refresh_family_revoked_with_reason",
            ),
        ),
    ]
