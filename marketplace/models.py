"""The catalogue: models, their versions and their prices."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Cast, Now
from django.utils.translation import gettext_lazy as _

from common.ids import encode, uuid7
from marketplace.querysets import PUBLIC_STATUSES, AIModelQuerySet, PriceQuerySet, VersionQuerySet

if TYPE_CHECKING:
    from uuid import UUID

SEMVER = r"^(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})$"
MEASURED_DAYS = 90  # of availability
MIN_SAMPLES = 50  # a figure that rests on fewer calls is none
UNMEASURED = 2**31 - 1  # sorts behind every latency
UNPRICED = 2**63 - 1  # sorts behind every price
RATING_PRIOR_SUM, RATING_PRIOR_COUNT = 35, 10  # a model without reviews ranks like one with 3.5


class Category(models.TextChoices):
    """The task a model is for; `other` where none fits."""

    CHAT = "chat", _("Chat")
    TEXT_GENERATION = "text-generation", _("Text generation")
    TEXT_CLASSIFICATION = "text-classification", _("Text classification")
    LANGUAGE_IDENTIFICATION = "language-identification", _("Language identification")
    EMBEDDINGS = "embeddings", _("Embeddings")
    TRANSLATION = "translation", _("Translation")
    SUMMARIZATION = "summarization", _("Summarization")
    CODE = "code", _("Code")
    IMAGE_GENERATION = "image-generation", _("Image generation")
    IMAGE_CLASSIFICATION = "image-classification", _("Image classification")
    SPEECH_TO_TEXT = "speech-to-text", _("Speech to text")
    TEXT_TO_SPEECH = "text-to-speech", _("Text to speech")
    MODERATION = "moderation", _("Moderation")
    TABULAR = "tabular", _("Tabular data")
    OTHER = "other", _("Other")


class AIModel(models.Model):
    """A listing. What is called is its current version; where calls go is the gateway's business."""

    class Status(models.TextChoices):
        DRAFT = "draft", _("Draft")
        IN_REVIEW = "in_review", _("In review")
        REJECTED = "rejected", _("Rejected")
        PUBLISHED = "published", _("Published")
        DEPRECATED = "deprecated", _("Deprecated")
        SUSPENDED = "suspended", _("Suspended")
        ARCHIVED = "archived", _("Archived")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    publisher = models.ForeignKey("accounts.Organization", models.PROTECT, related_name="ai_models")
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    description = models.TextField(max_length=20_000)  # Markdown
    category = models.CharField(max_length=24, choices=Category)
    capabilities = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    current_version = models.OneToOneField(
        "marketplace.ModelVersion", models.PROTECT, null=True, blank=True, related_name="current_of"
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    published_at = models.DateTimeField(null=True, blank=True)
    is_callable = models.BooleanField(default=False)  # told by the gateway: there is an endpoint behind it
    test_enabled = models.BooleanField(default=False)  # keys in test mode may call it, for nothing
    is_demo = models.BooleanField(default=False)  # made by seed_demo
    # Told by the gateway: how the last contract check of its endpoint ended, and since when it fails again and again.
    checked_at = models.DateTimeField(null=True, blank=True)
    check_passed = models.BooleanField(null=True, blank=True)
    degraded_at = models.DateTimeField(null=True, blank=True)
    sunset_on = models.DateField(null=True, blank=True)  # of a deprecated one: the day (UTC) from which it may be gone
    reviewed = models.JSONField(default=dict, blank=True)  # what the listing said when the staff last decided on it
    review_note = models.TextField(max_length=2_000, blank=True)  # what the staff said when they sent it back
    license = models.CharField(max_length=60, blank=True)  # an SPDX identifier, or a few words
    context_tokens = models.PositiveIntegerField(null=True, blank=True)  # the most that one call may hold
    logo = models.UUIDField(null=True, editable=False)  # told by media: the file of its picture
    # Told from above, for search to sort by.
    rating_sum = models.PositiveIntegerField(default=0)
    rating_count = models.PositiveIntegerField(default=0)
    deployment_count = models.PositiveIntegerField(default=0)
    popularity = models.BigIntegerField(default=0)  # calls of the last 30 days
    latency_order = models.PositiveIntegerField(default=UNMEASURED, editable=False)  # measured p50, in milliseconds
    demand = models.BigIntegerField(default=0, editable=False)  # organizations that use it, in thousandths; see README
    # Kept by triggers, whatever else is saved: the price in force (its highest figure), and the text to search in.
    price_type = models.CharField(max_length=4, blank=True, default="", editable=False)
    price_order = models.BigIntegerField(default=UNPRICED, editable=False)
    search_vector = SearchVectorField(null=True, editable=False)
    rating_order = models.GeneratedField(  # the Bayesian mean, in thousandths
        expression=(Cast("rating_sum", models.BigIntegerField()) + RATING_PRIOR_SUM)
        * 1000
        / (F("rating_count") + RATING_PRIOR_COUNT),
        output_field=models.BigIntegerField(),
        db_persist=True,
    )
    rating_tenths = models.GeneratedField(  # the mean, rounded down; 0 without any
        expression=Case(
            When(rating_count__gt=0, then=Cast("rating_sum", models.BigIntegerField()) * 10 / F("rating_count")),
            default=Value(0),
        ),
        output_field=models.BigIntegerField(),
        db_persist=True,
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    known_prices: list[Price]  # what `PriceQuerySet.known` says of it, where `AIModelQuerySet.detailed` has read it

    objects = AIModelQuerySet.as_manager()

    class Meta:
        verbose_name = "model"
        constraints = [
            models.UniqueConstraint(fields=["publisher", "slug"], name="ai_model_slug_once_per_publisher"),
            models.CheckConstraint(condition=Q(slug__regex=r"^[a-z0-9]([-.]?[a-z0-9])*$"), name="ai_model_slug_shape"),
            models.CheckConstraint(condition=~Q(name=""), name="ai_model_name_not_empty"),
            models.CheckConstraint(condition=~Q(description=""), name="ai_model_description_not_empty"),
            models.CheckConstraint(condition=Q(category__in=Category.values), name="ai_model_category"),
            models.CheckConstraint(
                condition=Q(
                    status__in=["draft", "in_review", "rejected", "published", "deprecated", "suspended", "archived"]
                ),
                name="ai_model_status",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=PUBLIC_STATUSES) | Q(published_at__isnull=False, current_version__isnull=False),
                name="ai_model_public_has_a_version_and_a_date",
            ),
            models.CheckConstraint(
                condition=Q(rating_sum__gte=F("rating_count"), rating_sum__lte=F("rating_count") * 5),
                name="ai_model_rating_within_1_and_5",
            ),
            models.CheckConstraint(
                condition=Q(context_tokens=None) | Q(context_tokens__gt=0), name="ai_model_context_positive"
            ),
            models.CheckConstraint(
                condition=Q(checked_at=None, check_passed=None)
                | Q(checked_at__isnull=False, check_passed__isnull=False),
                name="ai_model_check_has_an_end",
            ),
        ]
        indexes = [
            GinIndex(fields=["search_vector"], name="ai_model_search"),
            GinIndex(fields=["name"], name="ai_model_name_trigram", opclasses=["gin_trgm_ops"]),
            GinIndex(fields=["capabilities"], name="ai_model_capabilities"),
            models.Index(fields=["category", "status"], name="ai_model_category_status"),
            # One for each order of the catalogue.
            *(
                models.Index(fields=fields, condition=Q(status__in=PUBLIC_STATUSES), name=f"ai_model_{name}")
                for name, fields in {
                    "browsed": ["-is_callable", "-demand", "-id"],
                    "wanted": ["-demand", "-id"],
                    "newest": ["-published_at", "-id"],
                    "rated": ["-rating_order", "-id"],
                    "cheapest": ["price_order", "-id"],
                    "fastest": ["latency_order", "-id"],
                }.items()
            ),
            # What else there is for the same task.
            models.Index(
                fields=["category", "-demand", "-id"],
                condition=Q(status__in=PUBLIC_STATUSES, is_callable=True),
                name="ai_model_related",
            ),
            # Counting the filters of the whole catalogue reads this alone.
            models.Index(
                fields=["category"],
                include=[
                    *("publisher", "capabilities", "price_type", "price_order", "rating_tenths", "latency_order"),
                ],
                condition=Q(status__in=PUBLIC_STATUSES),
                name="ai_model_facets",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        return encode("mdl", self.id)

    @property
    def is_public(self) -> bool:
        return self.status in PUBLIC_STATUSES

    def has_page_for(self, organization_id: UUID) -> bool:
        """Whether people of this organization find its page: everybody those of public models, its own the others."""
        return self.is_public or self.publisher_id == organization_id

    @property
    def rating(self) -> float:
        """The mean of its ratings, 1 to 5; 0 without any."""
        return round(self.rating_sum / self.rating_count, 2) if self.rating_count else 0.0

    @property
    def measured(self) -> Measurement | None:
        """What its calls have shown; None as long as there were none. No query after `AIModelQuerySet.detailed`."""
        return getattr(self, "measurement", None)

    @property
    def price(self) -> Price | None:
        """The price in force; without a query where `AIModelQuerySet.detailed` has read it."""
        return next((price for price in self._known_prices() if not price.is_announced), None)

    @property
    def announced_price(self) -> Price | None:
        """The next one that is to come; without a query where `AIModelQuerySet.detailed` has read it."""
        return next((price for price in self._known_prices() if price.is_announced), None)

    def _known_prices(self) -> list[Price]:
        found: list[Price] | None = getattr(self, "known_prices", None)
        return list(self.prices.known()) if found is None else found


class ModelVersion(models.Model):
    """A version of a model: its number and the JSON Schemas of its input and output. Immutable once published."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    ai_model = models.ForeignKey(AIModel, models.CASCADE, related_name="versions")
    version = models.CharField(max_length=20)  # semver: 1.4.2
    input_schema = models.JSONField(default=dict)
    output_schema = models.JSONField(default=dict)
    changelog = models.TextField(max_length=5_000, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    sunset_on = models.DateField(null=True, blank=True)  # the day (UTC) from which it may be gone
    sunset_announced_at = models.DateTimeField(null=True, blank=True)  # when that day was set
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = VersionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ai_model", "version"], name="model_version_once_per_model"),
            models.CheckConstraint(condition=Q(version__regex=SEMVER), name="model_version_is_semver"),
            models.CheckConstraint(
                condition=Q(sunset_on=None, sunset_announced_at=None)
                | Q(sunset_on__isnull=False, sunset_announced_at__isnull=False, published_at__isnull=False),
                name="model_version_sunset_is_announced",
            ),
        ]
        indexes = [
            models.Index(
                fields=["sunset_on"], condition=Q(sunset_on__isnull=False), name="model_version_sunset"
            ),  # the sweep that mails whoever is pinned reads this alone
        ]

    def __str__(self) -> str:
        return self.version

    @property
    def number(self) -> tuple[int, ...]:
        """`1.10.0` as (1, 10, 0), to compare by."""
        return tuple(int(part) for part in self.version.split("."))

    def is_over(self, today: date) -> bool:
        """Whether the day has come from which it may be gone. today: in UTC."""
        return self.sunset_on is not None and self.sunset_on <= today


class UnsavedStep(models.Model):
    """What somebody typed into a step of publishing and did not save, as they typed it, to be shown when they return.

    Of a listing, or of a person's next one in an organization. Never a secret.
    """

    class Step(models.TextChoices):
        BASICS = "basics", _("Basics")
        ENDPOINT = "endpoint", _("Endpoint")
        PRICE = "price", _("Price")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey("accounts.Organization", models.CASCADE, related_name="unsaved_steps")
    ai_model = models.ForeignKey(AIModel, models.CASCADE, null=True, blank=True, related_name="unsaved_steps")
    user = models.ForeignKey("accounts.User", models.CASCADE, null=True, blank=True, related_name="unsaved_steps")
    step = models.CharField(max_length=8, choices=Step)
    values = models.JSONField()  # field of the form -> text
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ai_model", "step"], name="unsaved_step_once_per_listing"),
            models.UniqueConstraint(
                fields=["organization", "user"], condition=Q(ai_model=None), name="unsaved_step_once_per_new_listing"
            ),
            models.CheckConstraint(
                condition=Q(ai_model__isnull=False, user=None) | Q(ai_model=None, user__isnull=False, step="basics"),
                name="unsaved_step_is_of_a_listing_or_a_person",
            ),
            models.CheckConstraint(condition=Q(step__in=["basics", "endpoint", "price"]), name="unsaved_step_step"),
        ]

    def __str__(self) -> str:
        return f"{self.step} of {self.ai_model_id}"


class SavedModel(models.Model):
    """Somebody wants to find a model again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey("accounts.User", models.CASCADE, db_index=False, related_name="saved_models")
    ai_model = models.ForeignKey(AIModel, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "ai_model"], name="saved_model_once_per_user")]
        indexes = [models.Index(fields=["user", "-id"], name="saved_model_of_user")]

    def __str__(self) -> str:
        return str(self.ai_model_id)


class Measurement(models.Model):
    """What the calls of the last 30 days say about a model. Told by the gateway; nobody types these figures.

    A call counts if it was answered, or failed for the publisher's reasons; the caller's faults and ours say nothing.
    A figure that would rest on fewer than `MIN_SAMPLES` calls is null. p50 is the median, p95 what 19 of 20 stay below.
    """

    class Day(models.TextChoices):
        """How a day (UTC) went."""

        OK = "ok", _("hardly a failure")
        WARN = "warn", _("some failures")
        BAD = "bad", _("many failures")
        NONE = "none", _("too few requests")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    ai_model = models.OneToOneField(AIModel, models.CASCADE, related_name="measurement")
    requests = models.PositiveIntegerField()  # all that ended, whatever for
    sample_size = models.PositiveIntegerField()  # those that count
    latency_p50_ms = models.PositiveIntegerField(null=True)  # of answered calls, like all that follow but the uptime
    latency_p95_ms = models.PositiveIntegerField(null=True)
    first_token_p50_ms = models.PositiveIntegerField(null=True)  # of streamed calls, like the next two
    first_token_p95_ms = models.PositiveIntegerField(null=True)
    tokens_per_second = models.DecimalField(max_digits=9, decimal_places=1, null=True)  # median, after the first one
    typical_input_tokens = models.PositiveIntegerField(null=True)  # median
    typical_output_tokens = models.PositiveIntegerField(null=True)  # median
    uptime_bp = models.PositiveSmallIntegerField(null=True)  # hundredths of a percent, rounded down
    recent_uptime_bp = models.PositiveSmallIntegerField(null=True)  # of the last three days
    days = ArrayField(models.CharField(max_length=4, choices=Day), size=MEASURED_DAYS)  # UTC, the oldest first
    measured_at = models.DateTimeField()

    FIGURES = (
        *("latency_p50_ms", "latency_p95_ms", "first_token_p50_ms", "first_token_p95_ms", "tokens_per_second"),
        *("typical_input_tokens", "typical_output_tokens", "uptime_bp", "recent_uptime_bp"),
    )

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(sample_size__lte=F("requests")), name="measurement_sample_of_requests"),
            models.CheckConstraint(
                condition=Q(sample_size__gte=MIN_SAMPLES)
                | Q(
                    latency_p50_ms=None,
                    latency_p95_ms=None,
                    first_token_p50_ms=None,
                    first_token_p95_ms=None,
                    tokens_per_second=None,
                    typical_input_tokens=None,
                    typical_output_tokens=None,
                    uptime_bp=None,
                    recent_uptime_bp=None,
                ),
                name="measurement_rests_on_enough_calls",
            ),
            models.CheckConstraint(
                condition=(Q(uptime_bp=None) | Q(uptime_bp__lte=10_000))
                & (Q(recent_uptime_bp=None) | Q(recent_uptime_bp__lte=10_000)),
                name="measurement_uptime_at_most_all",
            ),
            models.CheckConstraint(condition=Q(days__len=MEASURED_DAYS), name="measurement_ninety_days"),
            models.CheckConstraint(
                condition=Q(days__contained_by=["ok", "warn", "bad", "none"]), name="measurement_known_days"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sample_size} calls of {self.ai_model_id}"


class Price(models.Model):
    """What a model costs from an instant on. Never changed: a new price is a new row.

    Amounts are nano-units of `currency`: `amount_nano` per `period`, plus rates per call and per million tokens.
    """

    class Type(models.TextChoices):
        FREE = "free", _("Free")
        PAID = "paid", _("Paid")

    class Period(models.TextChoices):
        MONTHLY = "monthly", _("Monthly")
        YEARLY = "yearly", _("Yearly")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    ai_model = models.ForeignKey(AIModel, models.CASCADE, related_name="prices")
    type = models.CharField(max_length=4, choices=Type)
    amount_nano = models.BigIntegerField(null=True, blank=True)
    period = models.CharField(max_length=7, choices=Period, null=True, blank=True)  # noqa: DJ001 null: no subscription
    currency = models.CharField(max_length=3)
    per_call_nano = models.BigIntegerField(null=True, blank=True)
    input_nano_per_million = models.BigIntegerField(null=True, blank=True)
    output_nano_per_million = models.BigIntegerField(null=True, blank=True)
    included_calls = models.PositiveIntegerField(default=0)
    effective_from = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    is_announced = False  # said by `PriceQuerySet.known`: its instant is to come
    state: str  # said by `PriceQuerySet.history`

    objects = PriceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ai_model", "effective_from"], name="price_once_per_instant"),
            models.CheckConstraint(condition=Q(type__in=["free", "paid"]), name="price_type"),
            models.CheckConstraint(
                condition=~Q(type="free")
                | Q(
                    amount_nano=None,
                    per_call_nano=None,
                    input_nano_per_million=None,
                    output_nano_per_million=None,
                    included_calls=0,
                ),
                name="price_free_costs_nothing",
            ),
            models.CheckConstraint(
                condition=Q(amount_nano=None, period=None) | Q(amount_nano__isnull=False, period__isnull=False),
                name="price_amount_has_a_period",
            ),
            models.CheckConstraint(condition=Q(period=None) | Q(period__in=["monthly", "yearly"]), name="price_period"),
            models.CheckConstraint(condition=Q(amount_nano=None) | Q(amount_nano__gt=0), name="price_amount_positive"),
            models.CheckConstraint(
                condition=(Q(per_call_nano=None) | Q(per_call_nano__gte=0))
                & (Q(input_nano_per_million=None) | Q(input_nano_per_million__gte=0))
                & (Q(output_nano_per_million=None) | Q(output_nano_per_million__gte=0)),
                name="price_rates_not_negative",
            ),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="price_currency"),
        ]
        indexes = [
            models.Index(fields=["ai_model", "-effective_from", "-id"], name="price_in_force"),
            models.Index(fields=["effective_from"], name="price_effective"),
        ]

    def __str__(self) -> str:
        return f"{self.type} from {self.effective_from:%Y-%m-%d}"

    @property
    def has_rates(self) -> bool:
        """Whether calls cost something by themselves, a rate of 0 included."""
        rates = (self.per_call_nano, self.input_nano_per_million, self.output_nano_per_million)
        return any(rate is not None for rate in rates)

    @property
    def asks_for_money(self) -> bool:
        """Whether anything is asked at all; a draft may say `paid` before it says how much."""
        return self.amount_nano is not None or self.has_rates
