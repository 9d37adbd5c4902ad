"""Where calls go, and the calls."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from common.ids import encode, uuid7
from gateway.querysets import (
    ContractCheckQuerySet,
    DeploymentQuerySet,
    EndpointQuerySet,
    InvocationQuerySet,
    PredictionQuerySet,
)


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
    CANCELLED = "cancelled", _("The caller left or cancelled before anything was delivered: nothing is charged.")
    NOT_SENT = "not_sent", _("The call ended before the upstream was contacted: nothing is charged.")
    ORPHAN_CONFIRMED = (
        "orphan_confirmed",
        _("The gateway stopped during the call; the usage that its publisher confirmed, at the price when it began."),
    )
    ORPHAN_PROGRESS = (
        "orphan_progress",
        _("The gateway stopped during the call; what it had noted as delivered, at the price when it began."),
    )
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
        ANTHROPIC = "anthropic", _("Anthropic's Messages")

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
            models.CheckConstraint(condition=Q(protocol__in=["json", "openai", "anthropic"]), name="endpoint_protocol"),
            models.CheckConstraint(
                condition=Q(timeout_seconds__gte=1, timeout_seconds__lte=600), name="endpoint_timeout_within_600_s"
            ),
            models.CheckConstraint(
                condition=Q(max_cost_nano=None) | Q(max_cost_nano__gt=0), name="endpoint_max_cost_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.protocol} endpoint of {self.version_id}"


class ContractCheck(models.Model):
    """One run of the contract check on an endpoint. `steps`: those taken so far, as `gateway.services.contract.Step`.

    A worker takes what is queued; one that is `running` longer than a run can take was left behind, and is taken again.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        PASSED = "passed", _("Passed")
        FAILED = "failed", _("Failed")

    class Reason(models.TextChoices):
        ASKED = "asked", _("Asked for")
        SCHEDULE = "schedule", _("By schedule")

    LIVE = (Status.QUEUED, Status.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="checks")
    status = models.CharField(max_length=7, choices=Status, default=Status.QUEUED)
    reason = models.CharField(max_length=8, choices=Reason)
    steps = models.JSONField(default=list)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = ContractCheckQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running", "passed", "failed"]), name="contract_check_status"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"], ended_at=None)
                | Q(status__in=["passed", "failed"], ended_at__isnull=False, started_at__isnull=False),
                name="contract_check_ended_once_decided",
            ),
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=Q(status__in=["queued", "running"]),
                name="contract_check_one_at_a_time",
            ),
        ]
        indexes = [models.Index(fields=["endpoint", "-id"], name="contract_check_of_endpoint")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("chk", self.id)

    @property
    def is_live(self) -> bool:
        return self.status in self.LIVE


class Deployment(models.Model):
    """An organization's own name for a model: pinned to a version or not, with limits and a fallback of its own.

    Its spend limit is a `Budget` of the kind `deployment`. A deleted one keeps its row, which receipts name.
    """

    class Status(models.TextChoices):
        ACTIVE = "active", _("Active")
        PAUSED = "paused", _("Paused")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="deployments")
    name = models.SlugField(max_length=60)
    # A model that can be deleted was never published: these were its publisher's own tries, and end with it.
    ai_model = models.ForeignKey("marketplace.AIModel", models.CASCADE, related_name="deployments")
    version = models.ForeignKey(
        "marketplace.ModelVersion", models.CASCADE, null=True, blank=True, related_name="deployments"
    )  # null: the current one
    fallback = models.ForeignKey(
        "marketplace.AIModel", models.SET_NULL, null=True, blank=True, related_name="fallback_of_deployments"
    )
    status = models.CharField(max_length=6, choices=Status, default=Status.ACTIVE)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)  # calls a minute; null: none of its own
    deleted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"],
                condition=Q(deleted_at=None),
                name="deployment_name_once_per_organization",
            ),
            # Without a slash or an underscore, so that it is neither `publisher/model` nor an id.
            models.CheckConstraint(condition=Q(name__regex=r"^[a-z0-9](-?[a-z0-9])*$"), name="deployment_name_shape"),
            models.CheckConstraint(condition=Q(status__in=["active", "paused"]), name="deployment_status"),
            models.CheckConstraint(condition=Q(rate_limit=None) | Q(rate_limit__gt=0), name="deployment_rate_limit"),
            models.CheckConstraint(
                condition=Q(fallback=None) | ~Q(fallback=models.F("ai_model")), name="deployment_falls_back_elsewhere"
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="deployment_of_organization")]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        return encode("dep", self.id)


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
        MESSAGES = "messages", _("Message")

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
    deployment = models.ForeignKey(  # by whose name the model was called
        "gateway.Deployment",
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="invocations",
        null=True,
    )
    # Where a deployment's fallback stepped in: the failed call names the one that was served, and that one it.
    fallback_id = models.UUIDField(null=True)
    fallback_of_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=10, choices=Kind)
    mode = models.CharField(max_length=4)
    is_streamed = models.BooleanField(default=False)
    is_demo = models.BooleanField(default=False)  # made-up usage of the demo, not a call
    budget_ids = ArrayField(models.UUIDField(), default=list)
    hold_nano = models.BigIntegerField()
    extended_nano = models.BigIntegerField(default=0, db_default=0)  # of the hold, what was added under way
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()  # renewed while the call lasts
    settled_at = models.DateTimeField(null=True)
    # Of the settlement; while the call lasts, the tokens are what is noted of it at each beat.
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
                condition=Q(extended_nano__gte=0, extended_nano__lte=models.F("hold_nano")),
                name="invocation_extended_within_its_hold",
            ),
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


class UsageConfirmation(models.Model):
    """What a publisher says, signed, that a call used. Shares its id with the call; the first one counts.

    `gap_nano`: what it would have cost, less what was settled; above 0 the publisher received too little. Null until
    the call is final. Nobody is charged for it afterwards.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    endpoint_id = models.UUIDField()  # whose key it is signed with
    publisher = models.ForeignKey(
        "accounts.Organization", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    received_at = models.DateTimeField()
    compared_at = models.DateTimeField(null=True)
    gap_nano = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(input_tokens__gte=0, output_tokens__gte=0), name="usage_confirmation_tokens_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(compared_at=None, gap_nano=None) | Q(compared_at__isnull=False, gap_nano__isnull=False),
                name="usage_confirmation_gap_once_compared",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(compared_at=None), name="usage_confirmation_to_compare")]

    def __str__(self) -> str:
        return encode("req", self.id)


class Prediction(models.Model):
    """Long work: a call that waits in line from when it is accepted until a gateway process has room to make it.

    It has the id of its call, is reserved together with it and settled together with its end: while a prediction is
    live its call is `started` and holds what it may cost. Version and price are those of its beginning. What was sent,
    what came back and the webhook's address are sealed, and erased when it expires.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELED = "canceled", _("Canceled")

    LIVE = (Status.QUEUED, Status.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        "accounts.Organization", models.CASCADE, db_index=False, related_name="predictions"
    )
    user = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")
    api_key = models.ForeignKey("apikeys.APIKey", models.SET_NULL, null=True, related_name="+")
    ai_model = models.ForeignKey("marketplace.AIModel", models.CASCADE, related_name="+")
    version = models.ForeignKey("marketplace.ModelVersion", models.CASCADE, related_name="+")
    price = models.ForeignKey("marketplace.Price", models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Invocation.Kind)
    mode = models.CharField(max_length=4)
    hold_nano = models.BigIntegerField()
    status = models.CharField(max_length=9, choices=Status, default=Status.QUEUED)
    sealed_input = models.BinaryField(null=True, editable=False)
    sealed_output = models.BinaryField(null=True, editable=False)  # of one that succeeded
    sealed_error = models.BinaryField(null=True, editable=False)  # of one that did not; its words may be the upstream's
    sealed_webhook = models.BinaryField(null=True, editable=False)
    webhook_events = ArrayField(models.CharField(max_length=10), default=list, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    cost_nano = models.BigIntegerField(null=True, blank=True)
    # While it runs: by which process, until when that is believed without another word, and whether anything was sent.
    worker = models.UUIDField(null=True, blank=True)
    lease_ends_at = models.DateTimeField(null=True, blank=True)
    contacted_at = models.DateTimeField(null=True, blank=True)
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = PredictionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status="queued", worker=None, lease_ends_at=None, contacted_at=None, completed_at=None)
                | Q(status="running", worker__isnull=False, lease_ends_at__isnull=False, completed_at=None)
                | Q(
                    status__in=["succeeded", "failed", "canceled"],
                    worker=None,
                    lease_ends_at=None,
                    completed_at__isnull=False,
                    expires_at__isnull=False,
                ),
                name="prediction_queued_running_or_ended",
            ),
            models.CheckConstraint(condition=Q(hold_nano__gte=0), name="prediction_hold_not_negative"),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="prediction_of_organization"),
            models.Index(
                fields=["status", "organization", "id"],
                condition=Q(status__in=["queued", "running"]),
                name="prediction_live",
            ),
            models.Index(fields=["expires_at"], condition=Q(expires_at__isnull=False), name="prediction_expires"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return encode("pred", self.id)

    @property
    def is_live(self) -> bool:
        return self.status in self.LIVE

    def context(self, column: str) -> str:
        """What a column is sealed for."""
        return f"gateway.Prediction.{column}:{self.id}"
