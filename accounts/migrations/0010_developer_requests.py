"""Requests for developer access with their reasons and decisions, in place of an instant at the user; and the right to
help people who lost a second factor or a device, apart from that to change them."""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

import common.ids


def keep_requests(apps: Any, schema_editor: Any) -> None:
    """Who waits goes on waiting, and who was granted the role has that written down."""
    User, Request = apps.get_model("accounts", "User"), apps.get_model("accounts", "DeveloperRequest")
    for user in User.objects.exclude(developer_requested_at=None).iterator():
        at = user.developer_requested_at
        is_granted = user.platform_role == "developer"
        Request.objects.create(
            user=user,
            created_at=at,
            decision="granted" if is_granted else "",
            decided_at=at if is_granted else None,
        )


def bring_back_instants(apps: Any, schema_editor: Any) -> None:
    User, Request = apps.get_model("accounts", "User"), apps.get_model("accounts", "DeveloperRequest")
    for request in Request.objects.exclude(decision="refused").order_by("created_at").iterator():
        User.objects.filter(pk=request.user_id).update(developer_requested_at=request.created_at)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_sign_ins"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={"permissions": [("help_user", "Can end sessions of users and remove their second factors")]},
        ),
        migrations.CreateModel(
            name="DeveloperRequest",
            fields=[
                (
                    "id",
                    models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "decision",
                    models.CharField(
                        blank=True,
                        choices=[(None, "Undecided"), ("granted", "Granted"), ("refused", "Refused")],
                        max_length=8,
                    ),
                ),
                ("decision_reason", models.CharField(blank=True, max_length=500)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                (
                    "decided_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="developer_requests",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("decision", "")), fields=["-id"], name="developer_request_open")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("decision", "")),
                        fields=("user",),
                        name="developer_request_open_once_per_user",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("decision", "")),
                            models.Q(("decided_at__isnull", False), ("decision__in", ["granted", "refused"])),
                            _connector="OR",
                        ),
                        name="developer_request_decided_at_an_instant",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("decision", "refused"), ("decision_reason", ""), _negated=True),
                        name="developer_request_refused_with_reason",
                    ),
                ],
            },
        ),
        migrations.RunPython(keep_requests, bring_back_instants),
        migrations.RemoveField(model_name="user", name="developer_requested_at"),
    ]
