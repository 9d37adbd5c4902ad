"""Reads about people, organizations and their budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.auth.models import BaseUserManager
from django.db import models
from django.db.models import Count, F, Q

if TYPE_CHECKING:
    from datetime import datetime

    from accounts.models import Organization, User


class UserManager(BaseUserManager["User"]):
    """Users are found and made by lower-case e-mail address."""

    use_in_migrations = True

    def create_user(self, email: str, password: str | None = None, **fields: object) -> User:
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: object) -> User:
        fields = {"name": "Operator", **fields, "is_staff": True, "is_superuser": True}
        return self.create_user(email, password, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").strip().lower())


class OrganizationQuerySet(models.QuerySet):
    def open(self) -> OrganizationQuerySet:
        return self.filter(closed_at=None)

    def of_member(self, user: User) -> OrganizationQuerySet:
        return self.open().filter(memberships__user=user)


class MembershipQuerySet(models.QuerySet):
    def of_organization(self, organization: Organization) -> MembershipQuerySet:
        return self.filter(organization=organization).select_related("user")

    def of_user(self, user: User) -> MembershipQuerySet:
        """Their places in organizations that are open, the personal one first, then by name."""
        found = self.filter(user=user, organization__closed_at=None).select_related("organization")
        return found.order_by(F("organization__personal_owner").asc(nulls_last=True), "organization__name", "id")

    def with_keys(self, at: datetime) -> MembershipQuerySet:
        """With `keys`: how many that work each of them made there. They belong to an app above this one."""
        theirs = Q(user__api_keys__organization=F("organization"), user__api_keys__revoked_at=None)
        works = Q(user__api_keys__expires_at=None) | Q(user__api_keys__expires_at__gt=at)
        return self.annotate(keys=Count("user__api_keys", filter=theirs & works))

    def shared(self) -> MembershipQuerySet:
        """Without those in personal organizations."""
        return self.filter(organization__personal_owner=None)

    def owners(self) -> MembershipQuerySet:
        return self.filter(role="owner")


class InvitationQuerySet(models.QuerySet):
    def of_organization(self, organization: Organization) -> InvitationQuerySet:
        return self.filter(organization=organization)

    def unanswered(self) -> InvitationQuerySet:
        """Neither accepted, declined nor revoked; it may have expired."""
        return self.filter(accepted_at=None, declined_at=None, revoked_at=None)

    def open(self, at: datetime) -> InvitationQuerySet:
        return self.unanswered().filter(expires_at__gt=at, organization__closed_at=None)


class BudgetQuerySet(models.QuerySet):
    def of_subject(self, subject_id: UUID) -> BudgetQuerySet:
        return self.filter(subject_id=subject_id)

    def in_force(self, at: datetime) -> BudgetQuerySet:
        """Rows whose window holds `at` and that nobody has closed."""
        return self.filter(Q(ends_at=None) | Q(ends_at__gt=at), closed_at=None, starts_at__lte=at)

    def used_up(self, at: datetime) -> BudgetQuerySet:
        """Rows in force that leave nothing to reserve; credit that nobody was ever given is not used up."""
        return self.in_force(at).filter(limit__lte=F("spent") + F("held")).exclude(purpose="credit", limit=0)
