"""Figures that are kept: what the calls of a model came to, hour by hour."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from analytics.querysets import ModelHourQuerySet
from common.ids import uuid7


class ModelHour(models.Model):
    """The calls of a model that began in one hour, from `start` on (UTC), and ended. Made of the calls, never typed.

    Which calls count, and for what, is as in `marketplace.Measurement`. The distributions are pairs of arrays: values,
    ascending and rounded to less than one percent, and how many calls had each.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    ai_model = models.ForeignKey("marketplace.AIModel", models.CASCADE, related_name="hours")
    start = models.DateTimeField()
    requests = models.PositiveIntegerField()  # all that ended, whatever for
    counted = models.PositiveIntegerField()  # of them, those that say something about the publisher
    answered = models.PositiveIntegerField()
    errors = models.JSONField(default=dict)  # {"upstream_timeout": 3}
    latency_values = ArrayField(models.PositiveIntegerField(), default=list)  # milliseconds, of answered calls
    latency_counts = ArrayField(models.PositiveIntegerField(), default=list)
    first_token_values = ArrayField(models.PositiveIntegerField(), default=list)  # milliseconds, of streamed ones
    first_token_counts = ArrayField(models.PositiveIntegerField(), default=list)
    speed_values = ArrayField(models.PositiveIntegerField(), default=list)  # tenths of tokens a second, after the first
    speed_counts = ArrayField(models.PositiveIntegerField(), default=list)

    objects = ModelHourQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ai_model", "start"], name="model_hour_once"),
            models.CheckConstraint(
                condition=Q(counted__lte=F("requests"), answered__lte=F("counted")), name="model_hour_parts_of_requests"
            ),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{name}_values__len": F(f"{name}_counts__len")}), name=f"model_hour_{name}_pairs"
                )
                for name in ("latency", "first_token", "speed")
            ),
        ]
        indexes = [models.Index(fields=["start"], name="model_hour_start")]  # an hour is replaced as a whole

    def __str__(self) -> str:
        return f"{self.requests} calls from {self.start:%Y-%m-%d %H:%M}"


class RolledHour(models.Model):
    """An hour (UTC) whose calls were summed up. Complete: all of them had ended, so that nothing can be added."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    start = models.DateTimeField(unique=True)
    rolled_at = models.DateTimeField()
    is_complete = models.BooleanField()

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M}"
