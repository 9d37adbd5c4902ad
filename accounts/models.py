"""People, their organizations (the tenants), what an organization may spend, and the codes and tokens of signing in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.utils.crypto import salted_hmac
from django.utils.functional import Promise, cached_property
from django.utils.translation import gettext_lazy as _

from accounts.querysets import (
    BudgetQuerySet,
    InvitationQuerySet,
    MembershipQuerySet,
    OrganizationQuerySet,
    UserManager,
)
from common.ids import encode, uuid7

if TYPE_CHECKING:
    from datetime import datetime


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Signs in by e-mail address; what they own belongs to their organizations."""

    class PlatformRole(models.TextChoices):
        CONSUMER = "consumer", _("Consumer")
        DEVELOPER = "developer", _("Developer: may publish")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True, max_length=254)
    name = models.CharField(max_length=120)
    platform_role = models.CharField(max_length=10, choices=PlatformRole, default=PlatformRole.CONSUMER)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    session_version = models.PositiveIntegerField(default=1)  # raising it ends every session and token at once
    closed_at = models.DateTimeField(null=True, blank=True)  # by its person, who may come back for two weeks
    erased_at = models.DateTimeField(null=True, blank=True)  # from then on nothing here tells who it was
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_is_lower_case"),
            models.CheckConstraint(condition=~Q(name=""), name="user_name_not_empty"),
            models.CheckConstraint(condition=Q(platform_role__in=["consumer", "developer"]), name="user_platform_role"),
            models.CheckConstraint(condition=Q(closed_at=None) | Q(is_active=False), name="user_closed_is_not_active"),
            models.CheckConstraint(
                condition=Q(erased_at=None) | Q(closed_at__isnull=False), name="user_erased_after_closing"
            ),
        ]
        indexes = [
            models.Index(
                fields=["closed_at"],
                condition=Q(closed_at__isnull=False, erased_at=None),
                name="user_waits_to_be_erased",
            )
        ]
        permissions = [("help_user", "Can end sessions of users and remove their second factors")]

    def __str__(self) -> str:
        return self.email

    @property
    def public_id(self) -> str:
        return encode("usr", self.id)

    @property
    def role(self) -> str:
        """The platform role as the API shows it: consumer, developer or staff."""
        return "staff" if self.is_staff else self.platform_role

    @cached_property
    def has_second_factor(self) -> bool:
        """An authenticator app or a passkey; recovery codes alone are none."""
        factors = self.authenticator_set  # type: ignore[attr-defined]  # allauth's
        return bool(factors.filter(type__in=["totp", "webauthn"]).exists())

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Where STAFF_REQUIRES_MFA says so, staff without a second factor have no permission at all."""
        is_proved = not settings.STAFF_REQUIRES_MFA or self.has_second_factor
        return super().has_perm(perm, obj) and is_proved

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split(" ")[0]

    def get_session_auth_hash(self) -> str:
        """What a session must carry to stand: it changes with the password and with `session_version`."""
        return self._session_hash(None)

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        for secret in settings.SECRET_KEY_FALLBACKS:
            yield self._session_hash(secret)

    def _session_hash(self, secret: str | bytes | None) -> str:
        value = f"{self.session_version}:{self.password}"
        return salted_hmac("accounts.User.session", value, secret=secret, algorithm="sha256").hexdigest()


class DeveloperRequest(models.Model):
    """Somebody asked to publish, and why; later what the staff, or the site's policy, decided, and why."""

    class Decision(models.TextChoices):
        GRANTED = "granted", _("Granted")
        REFUSED = "refused", _("Refused")
        __empty__ = _("Undecided")

    MAX_REASON = 500

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="developer_requests")
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    decision = models.CharField(max_length=8, choices=Decision, blank=True)
    decision_reason = models.CharField(max_length=MAX_REASON, blank=True)
    decided_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")  # null: the policy
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user"], condition=Q(decision=""), name="developer_request_open_once_per_user"
            ),
            models.CheckConstraint(
                condition=Q(decision="", decided_at=None)
                | Q(decision__in=["granted", "refused"], decided_at__isnull=False),
                name="developer_request_decided_at_an_instant",
            ),
            models.CheckConstraint(
                condition=~Q(decision="refused", decision_reason=""), name="developer_request_refused_with_reason"
            ),
        ]
        indexes = [
            models.Index(fields=["-id"], condition=Q(decision=""), name="developer_request_open"),
        ]

    def __str__(self) -> str:
        return str(self.user)


class Organization(models.Model):
    """The tenant: as publisher it lists models, as consumer it calls them and is metered."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(unique=True, max_length=40)
    name = models.CharField(max_length=120)
    personal_owner = models.OneToOneField(
        User, models.PROTECT, null=True, blank=True, related_name="personal_organization"
    )
    time_zone = models.CharField(max_length=64, default="UTC")  # of its reports, months and spend limits
    rate_limit = models.PositiveIntegerField(null=True, blank=True)  # calls a minute of all its keys; null: the site's
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    members = models.ManyToManyField(User, through="accounts.Membership", related_name="organizations")

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(slug__regex=r"^[a-z0-9](-?[a-z0-9])*$"), name="organization_slug_shape"),
            models.CheckConstraint(condition=~Q(name=""), name="organization_name_not_empty"),
            models.CheckConstraint(condition=Q(rate_limit=None) | Q(rate_limit__gt=0), name="organization_rate_limit"),
        ]
        indexes = [GinIndex(fields=["name"], name="organization_name_trigram", opclasses=["gin_trgm_ops"])]

    def __str__(self) -> str:
        return self.slug

    @property
    def public_id(self) -> str:
        return encode("org", self.id)


class Membership(models.Model):
    """A person's place in an organization."""

    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        ADMIN = "admin", _("Admin")
        DEVELOPER = "developer", _("Developer")
        BILLING = "billing", _("Billing")
        MEMBER = "member", _("Member")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="membership_once_per_organization"),
            models.CheckConstraint(
                condition=Q(role__in=["owner", "admin", "developer", "billing", "member"]), name="membership_role"
            ),
        ]

    def __str__(self) -> str:
        return encode("mbr", self.id)

    @property
    def public_id(self) -> str:
        return encode("mbr", self.id)


@dataclass(frozen=True, slots=True)
class Right:
    """Something that one may do in an organization: in words, and which roles may."""

    words: Promise
    roles: frozenset[str]

    @classmethod
    def of(cls, words: Promise, *roles: str) -> Right:
        """Without roles: everybody who is in the organization."""
        return cls(words, frozenset(roles or Membership.Role.values))


_OWNER, _ADMIN, _DEVELOPER, _BILLING, _MEMBER = Membership.Role.values

#: What each role may do, on the pages and in the API alike. docs/roles.md is made from it.
ROLE_TABLE: Mapping[str, Right] = {
    "organization.see": Right.of(_("See the organization, its members and their roles")),
    "organization.leave": Right.of(_("Leave it, unless nobody else owns it")),
    "usage.see": Right.of(_("See usage, the request log and receipts")),
    "keys.make": Right.of(_("Make keys with permissions that the role covers; change, rotate and revoke one’s own")),
    "models.call": Right.of(_("Call models, in programs and in the playground"), _OWNER, _ADMIN, _DEVELOPER, _MEMBER),
    "models.publish": Right.of(
        _("List, change and withdraw models, with developer access to the site"), _OWNER, _ADMIN, _DEVELOPER
    ),
    "deployments.change": Right.of(_("Make, change and delete deployments"), _OWNER, _ADMIN, _DEVELOPER),
    "billing.see": Right.of(_("See plans, invoices and credit"), _OWNER, _ADMIN, _DEVELOPER, _BILLING),
    "billing.change": Right.of(_("Pay, and change how is paid"), _OWNER, _ADMIN, _BILLING),
    "limits.change": Right.of(_("Set the organization’s spend limit"), _OWNER, _ADMIN, _BILLING),
    "keys.manage": Right.of(_("Change, rotate and revoke the keys that others made"), _OWNER, _ADMIN),
    "organization.change": Right.of(_("Change the name and the time zone"), _OWNER, _ADMIN),
    "members.invite": Right.of(_("Invite people, as anything but owner"), _OWNER, _ADMIN),
    "members.change": Right.of(_("Change the roles of others and remove them, but for owners"), _OWNER, _ADMIN),
    "audit.see": Right.of(_("See the audit log"), _OWNER, _ADMIN),
    "owners.change": Right.of(_("Make and unmake owners, hand the organization over"), _OWNER),
    "organization.close": Right.of(_("Close the organization"), _OWNER),
}


def roles_with(right: str) -> tuple[str, ...]:
    """The roles that may do it, the mightiest first. Raises KeyError for what is not in the table."""
    return tuple(role for role in Membership.Role.values if role in ROLE_TABLE[right].roles)


def role_may(role: str | None, right: str) -> bool:
    return role in ROLE_TABLE[right].roles


class Invitation(models.Model):
    """A place in an organization, offered to whoever proves to own the address `email`. Only a keyed hash of the
    token in the mail is stored. It is open until one of the three things happens to it, or it expires."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=10, choices=Membership.Role)
    digest = models.BinaryField(max_length=32, unique=True)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="invitations")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    declined_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "email"],
                condition=Q(accepted_at=None, declined_at=None, revoked_at=None),
                name="invitation_open_once_per_address",
            ),
            models.CheckConstraint(condition=Q(email=Lower("email")), name="invitation_email_is_lower_case"),
            models.CheckConstraint(
                condition=Q(role__in=["admin", "developer", "billing", "member"]), name="invitation_role"
            ),
            models.CheckConstraint(
                condition=Q(accepted_at=None, declined_at=None)
                | Q(accepted_at=None, revoked_at=None)
                | Q(declined_at=None, revoked_at=None),
                name="invitation_ends_once",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="invitation_of_organization"),
            models.Index(fields=["expires_at"], name="invitation_by_end"),
        ]

    def __str__(self) -> str:
        return encode("ivt", self.id)

    @property
    def public_id(self) -> str:
        return encode("ivt", self.id)

    def is_open(self, at: datetime) -> bool:
        return (
            self.accepted_at is None and self.declined_at is None and self.revoked_at is None and self.expires_at > at
        )


class Budget(models.Model):
    """What a subject may use in one window: `limit` of a unit, of which `spent` is gone and `held` is reserved.

    One row per window. `spent` and `held` are moved by the SQL function `gateway_batch` alone; when a window has
    turned, that function makes the successor row. Amounts are nano-units of the instance's currency.
    """

    class SubjectKind(models.TextChoices):
        ORGANIZATION = "organization", _("Organization")
        DEPLOYMENT = "deployment", _("Deployment")
        KEY = "key", _("API key")

    class Purpose(models.TextChoices):
        SPEND_LIMIT = "spend_limit", _("Spend limit")
        CREDIT = "credit", _("Credit")

    class Window(models.TextChoices):
        DAY = "day", _("Day")
        WEEK = "week", _("Week")
        MONTH = "month", _("Month")
        LIFETIME = "lifetime", _("Lifetime")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject_kind = models.CharField(max_length=12, choices=SubjectKind)
    subject_id = models.UUIDField()
    purpose = models.CharField(max_length=12, choices=Purpose)
    window = models.CharField(max_length=8, choices=Window)
    time_zone = models.CharField(max_length=64, default="UTC")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)  # exclusive; null: never
    limit = models.BigIntegerField()
    spent = models.BigIntegerField(default=0)
    held = models.BigIntegerField(default=0)
    closed_at = models.DateTimeField(null=True, blank=True)  # no longer in force
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = BudgetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject_id", "purpose", "window", "starts_at"],
                condition=Q(closed_at=None),
                name="budget_once_per_window",
            ),
            models.CheckConstraint(condition=Q(limit__gte=0), name="budget_limit_not_negative"),
            models.CheckConstraint(condition=Q(spent__gte=0), name="budget_spent_not_negative"),
            models.CheckConstraint(condition=Q(held__gte=0), name="budget_held_not_negative"),
            models.CheckConstraint(
                condition=Q(window="lifetime", ends_at=None)
                | (~Q(window="lifetime") & Q(ends_at__isnull=False, ends_at__gt=F("starts_at"))),
                name="budget_window_has_an_end_unless_lifetime",
            ),
            models.CheckConstraint(
                condition=Q(subject_kind__in=["organization", "deployment", "key"]), name="budget_subject_kind"
            ),
            models.CheckConstraint(condition=Q(purpose__in=["spend_limit", "credit"]), name="budget_purpose"),
            models.CheckConstraint(condition=Q(window__in=["day", "week", "month", "lifetime"]), name="budget_window"),
        ]
        indexes = [models.Index(fields=["subject_id", "starts_at"], name="budget_of_subject")]

    def __str__(self) -> str:
        return f"{self.purpose} of {self.subject_kind} {self.subject_id}"

    @property
    def left(self) -> int:
        """What may still be reserved, in nano-units; never below 0."""
        return max(self.limit - self.spent - self.held, 0)


class EmailCode(models.Model):
    """A short-lived proof of reading the mailbox `email`: a code to type, or a reset token in a link.

    Stored as a keyed hash. It proves that one address, which need not be the one the user signs in with.
    """

    class Purpose(models.TextChoices):
        VERIFY_EMAIL = "verify_email", _("Verify an e-mail address")
        LOGIN = "login", _("Log in")
        RESET_PASSWORD = "reset_password", _("Reset a password")

    MAX_ATTEMPTS = 5

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="email_codes")
    email = models.EmailField(max_length=254)
    purpose = models.CharField(max_length=14, choices=Purpose)
    digest = models.BinaryField(max_length=32)
    attempts = models.PositiveSmallIntegerField(default=0)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(attempts__lte=5), name="email_code_attempts_limited"),
            models.CheckConstraint(
                condition=Q(purpose__in=["verify_email", "login", "reset_password"]), name="email_code_purpose"
            ),
            models.CheckConstraint(condition=Q(email=Lower("email")), name="email_code_email_is_lower_case"),
        ]
        indexes = [
            models.Index(fields=["user", "purpose", "-expires_at"], name="email_code_newest"),
            models.Index(fields=["digest"], name="email_code_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} for {self.user_id}"


class BrowserSession(models.Model):
    """What is known of one of Django's sessions: whose it is, and from where it was last used. It is over when that
    session is gone, or was opened before the user's present session version.

    `session_key`: under what it is stored, which is no key to it; see `accounts.services.session_store`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="browser_sessions")
    session_key = models.CharField(max_length=40, unique=True)
    address = models.CharField(max_length=45, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    last_seen_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["user", "-last_seen_at"], name="browser_session_of_user"),
            models.Index(fields=["last_seen_at"], name="browser_session_by_age"),
        ]

    def __str__(self) -> str:
        return encode("ses", self.id)

    @property
    def public_id(self) -> str:
        return encode("ses", self.id)


class RefreshFamily(models.Model):
    """One sign-in of an API client: the chain of its refresh tokens. Reuse of a spent token ends the whole family.

    `client` is the fingerprint of whoever used the chain last: a keyed hash of address and user agent.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="refresh_families")
    client = models.CharField(max_length=64)
    address = models.CharField(max_length=45, blank=True)  # of whoever used it last
    user_agent = models.CharField(max_length=200, blank=True)
    last_used_at = models.DateTimeField(db_default=Now())
    factor_at = models.DateTimeField(null=True, blank=True)  # when its person showed a second factor; null: never
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "refresh families"
        indexes = [
            models.Index(fields=["user", "-last_used_at"], name="refresh_family_of_user"),
            models.Index(fields=["user", "client"], name="refresh_family_of_client"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(revoked_at=None, reason="") | (~Q(revoked_at=None) & ~Q(reason="")),
                name="refresh_family_revoked_with_reason",
            )
        ]

    def __str__(self) -> str:
        return encode("fam", self.id)


class RefreshToken(models.Model):
    """One link of a family. Only its keyed hash is stored; `parent` is unique, so a token has one successor.

    An expired parent is deleted from under its successor, hence SET_NULL.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    family = models.ForeignKey(RefreshFamily, models.CASCADE, related_name="tokens")
    parent = models.OneToOneField("self", models.SET_NULL, null=True, blank=True, related_name="successor")
    digest = models.BinaryField(max_length=32, unique=True)
    used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    sealed = models.BinaryField(null=True, blank=True)  # the token itself, while its parent's ten seconds of grace run
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["expires_at"], name="refresh_token_by_end"),
            models.Index(fields=["family"], condition=Q(sealed__isnull=False), name="refresh_token_sealed"),
        ]

    def __str__(self) -> str:
        return f"token of {self.family_id}"
