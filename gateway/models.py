"""Where calls go, and the calls."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from common.ids import encode, uuid7
from gateway.querysets import EndpointQuerySet, InvocationQuerySet


class Rule(models.TextChoices):
    """The rules of the billing policy: what a settled call is charged, and why. Each receipt names one."""

    FREE = "free", _("The model is free.")
    TEST_MODE = "test_mode", _("The key is in test mode: nothing is charged.")
    USAGE_REPORTED = "usage_reported", _("The usage that the upstream reported, at the price when the call began.")
    USAGE_COUNTED = "usage_counted", _("The upstream reported no usage; what was delivered was counted here.")
    PER_CALL = "per_call", _("One answered call, at the price when it began.")
    UPSTREAM_ERROR = "upstream_error", _("The upstream failed or could not be reached: nothing is charged.")
    UPSTREAM_TIMEOUT = "upstream_timeout", _("The upstream did not answer in time: nothing is charged.")
    INVALID_OUTPUT = "invalid_output", _("The answer was empty or did not fit the model's schema: nothing is charged.")
    NOT_SENT = "not_sent", _("The call ended before the upstream was contacted: nothing is charged.")
    ORPHAN_VOID = (
        "orphan_void",
        _("The gateway stopped during the call and nothing proves delivery: nothing is charged."),
    )
    DEMO = "demo", _("Made-up usage of the demonstration.")


class SweepMark(models.Model):
    """How far a sweep over the calls has looked: each one before `low_water` is done, but for those in `carried`."""

    ORPHANS = "orphans"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=40, unique=True)
    low_water = models.UUIDField()  # of a call
    carried = ArrayField(models.UUIDField(), default=list, blank=True)
    swept_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Endpoint(models.Model):
    """The HTTP endpoint behind a version. Its secret is sealed, and bound to this row and to the URL's origin."""

    class Protocol(models.TextChoices):
        JSON = "json", _("JSON: the model's input in, its output out")
        OPENAI = "openai", _("OpenAI-compatible")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    version = models.OneToOneField("marketplace.ModelVersion", models.CASCADE, related_name="endpoint")
    url = models.URLField(max_length=500)
    protocol = models.CharField(max_length=10, choices=Protocol)
    upstream_model = models.CharField(max_length=120, blank=True)  # the model's name there, when it has another one
    auth_header = models.CharField(max_length=60, default="Authorization")
    sealed_secret = models.BinaryField(null=True, blank=True, editable=False)  # what the upstream wants of us
    sealed_signing_key = models.BinaryField(editable=False)  # what we sign requests with, so that it knows us
    timeout_seconds = models.PositiveSmallIntegerField(default=60)
    max_cost_nano = models.BigIntegerField(null=True, blank=True)  # what one call is never charged above
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = EndpointQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(protocol__in=["json", "openai"]), name="endpoint_protocol"),
            models.CheckConstraint(
                condition=Q(timeout_seconds__gte=1, timeout_seconds__lte=600), name="endpoint_timeout_within_600_s"
            ),
            models.CheckConstraint(
                condition=Q(max_cost_nano=None) | Q(max_cost_nano__gt=0), name="endpoint_max_cost_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.protocol} endpoint of {self.version_id}"


class Invocation(models.Model):
    """One call. The gateway writes it by `gateway_batch` alone: `started` with its hold, then `final` once.

    Partitioned by day over its time-ordered id, so no foreign key points here. Budgets that the hold rests on are in
    `budget_ids`; `settle` moves exactly those. `price_id` is frozen when the call begins.
    """

    class State(models.TextChoices):
        STARTED = "started", _("Started")
        FINAL = "final", _("Final")

    class Kind(models.TextChoices):
        INVOKE = "invoke", _("Invoke")
        CHAT = "chat", _("Chat completion")
        COMPLETION = "completion", _("Completion")
        EMBEDDING = "embedding", _("Embeddings")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=7, choices=State)
    organization = models.ForeignKey(
        "accounts.Organization", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="invocations"
    )
    user = models.ForeignKey(
        "accounts.User", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+", null=True
    )
    api_key = models.ForeignKey(
        "apikeys.APIKey", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+", null=True
    )
    publisher = models.ForeignKey(
        "accounts.Organization", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    ai_model = models.ForeignKey(
        "marketplace.AIModel", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="invocations"
    )
    version = models.ForeignKey(
        "marketplace.ModelVersion", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    price = models.ForeignKey(
        "marketplace.Price", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    deployment_id = models.UUIDField(null=True)  # by whose name the model was called
    kind = models.CharField(max_length=10, choices=Kind)
    mode = models.CharField(max_length=4)
    is_streamed = models.BooleanField(default=False)
    is_demo = models.BooleanField(default=False)  # made-up usage of the demo, not a call
    budget_ids = ArrayField(models.UUIDField(), default=list)
    hold_nano = models.BigIntegerField()
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()  # renewed while the call lasts
    settled_at = models.DateTimeField(null=True)
    # Of the settlement:
    rule = models.CharField(max_length=24, choices=Rule, blank=True)
    cost_nano = models.BigIntegerField(default=0)
    overrun_nano = models.BigIntegerField(default=0)  # beyond the hold: never charged to the caller
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    usage_source = models.CharField(max_length=8, blank=True)  # reported, counted
    http_status = models.PositiveSmallIntegerField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    first_token_ms = models.PositiveIntegerField(null=True)

    objects = InvocationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="started", settled_at=None, rule="", cost_nano=0)
                | (Q(state="final", settled_at__isnull=False) & ~Q(rule="")),
                name="invocation_final_once_settled",
            ),
            models.CheckConstraint(condition=Q(hold_nano__gte=0), name="invocation_hold_not_negative"),
            models.CheckConstraint(
                condition=Q(cost_nano__gte=0, cost_nano__lte=models.F("hold_nano")),
                name="invocation_cost_within_its_hold",
            ),
            models.CheckConstraint(condition=Q(overrun_nano__gte=0), name="invocation_overrun_not_negative"),
            models.CheckConstraint(
                condition=Q(input_tokens__gte=0, output_tokens__gte=0), name="invocation_tokens_not_negative"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="invocation_of_organization"),
            # What a person tried of a model on its page: of those calls alone, which are few.
            models.Index(
                fields=["user", "ai_model", "-id"], name="invocation_tried_by", condition=Q(api_key__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("req", self.id)
