"""Credit that organizations receive: given, bought, used in order, and ended on its day."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import connection, transaction

from accounts.models import Budget, Organization
from accounts.services import ensure_credit
from billing.models import CreditGrant
from common import clock
from common.money import to_nano
from observability.services import record

Source = CreditGrant.Source


@transaction.atomic
def ensure_account(organization: Organization) -> Budget:
    """The organization's credit, opened when it is not there yet. Idempotent.

    The welcome credit is once for a person, in their personal organization; whoever makes more gets no more of it.
    """
    credit = Budget.objects.of_subject(organization.pk).filter(purpose=Budget.Purpose.CREDIT, closed_at=None)
    existing: Budget | None = credit.first()
    if existing is not None:
        return existing
    budget = ensure_credit(organization=organization)
    welcome = to_nano(settings.WELCOME_CREDIT) if organization.personal_owner_id is not None else 0
    if welcome:
        _grant(organization, Source.WELCOME, f"welcome:{organization.pk}", "", welcome, None, 100)
        budget.refresh_from_db()
    return budget


@transaction.atomic
def grant_credit(
    *,
    organization: Organization,
    amount_nano: int,
    source: str,
    key: str,
    reason: str = "",
    expires_at: datetime | None = None,
    priority: int = 100,
) -> CreditGrant:
    """Give credit, once for each key, which is derived from what it is for.

    amount_nano: > 0. expires_at: in the future; None: never. priority: the lowest is used first.
    """
    ensure_account(organization)
    grant = _grant(organization, source, key, reason, amount_nano, expires_at, priority)
    record(
        "credit.granted",
        target=grant,
        organization_id=organization.pk,
        after={"amount_nano": amount_nano, "source": source, "reason": reason},
    )
    return grant


@transaction.atomic
def end_grant(*, grant: CreditGrant, reason: str) -> int | None:
    """Take back what is left of it and not held by a running call. Returns how much, in nano-units.

    None: the organization has calls that are not posted yet; nothing was done, try again after the next posting.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_end_grant(%s, %s, %s)", [grant.pk, reason, settings.CURRENCY])
        taken: int | None = cursor.fetchone()[0]
    if taken:
        record(
            "credit.ended",
            target=grant,
            organization_id=grant.organization_id,
            after={"amount_nano": taken, "reason": reason},
        )
    return taken


def end_grants() -> int:
    """End what is past its day. Returns the number of grants from which something was taken."""
    ended = 0
    for grant in CreditGrant.objects.expired_at(clock.now()).order_by("expires_at", "id"):
        ended += bool(end_grant(grant=grant, reason="expired"))
    return ended


def _grant(
    organization: Organization,
    source: str,
    key: str,
    reason: str,
    amount_nano: int,
    expires_at: datetime | None,
    priority: int,
) -> CreditGrant:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_grant_credit(%s, %s, %s, %s, %s, %s, %s::smallint, %s)",
            [organization.pk, source, key, reason, amount_nano, expires_at, priority, settings.CURRENCY],
        )
        id = cursor.fetchone()[0]
    return CreditGrant.objects.get(pk=id)
