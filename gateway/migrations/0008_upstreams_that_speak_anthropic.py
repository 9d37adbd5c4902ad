"""Endpoints may speak Anthropic's Messages API."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("gateway", "0007_usage_that_is_noted_and_confirmed")]

    operations = [
        migrations.AlterField(
            "endpoint",
            "protocol",
            models.CharField(
                choices=[
                    ("json", "JSON: the model's input in, its output out"),
                    ("openai", "OpenAI-compatible"),
                    ("anthropic", "Anthropic's Messages"),
                ],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            "invocation",
            "kind",
            models.CharField(
                choices=[
                    ("invoke", "Invoke"),
                    ("chat", "Chat completion"),
                    ("completion", "Completion"),
                    ("embedding", "Embeddings"),
                    ("messages", "Message"),
                ],
                max_length=10,
            ),
        ),
        migrations.RemoveConstraint("endpoint", "endpoint_protocol"),
        migrations.AddConstraint(
            "endpoint",
            models.CheckConstraint(condition=Q(protocol__in=["json", "openai", "anthropic"]), name="endpoint_protocol"),
        ),
    ]
