"""What an organization, a deployment or a key may spend. The gateway's SQL functions move `spent` and `held`; nobody
here does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from accounts.models import Budget, Organization
from accounts.services.locks import lock
from common.clock import now
from observability.services import record

SPEND_LIMIT, CREDIT = Budget.Purpose.SPEND_LIMIT, Budget.Purpose.CREDIT
LIFETIME = Budget.Window.LIFETIME


@transaction.atomic
def set_spend_limit(
    *, subject_kind: str, subject_id: UUID, limit_nano: int | None, window: str = Budget.Window.MONTH, time_zone: str
) -> Budget | None:
    """Limit what a subject may spend in a window of its calendar; None lifts the limit. Returns the row in force.

    limit_nano: >= 0, nano-units of the instance's currency. What the present window has spent and holds stays counted,
    also when the limit was lifted meanwhile, or its calendar was another. Another window is another limit, which
    replaces this one.
    """
    lock("budget", str(subject_id))
    at = now()
    rows = Budget.objects.of_subject(subject_id).filter(purpose=SPEND_LIMIT)
    if limit_nano is None:
        _close(rows.filter(closed_at=None), at)
        return None
    _make_successors([subject_id], at)
    present = rows.filter(Q(ends_at=None) | Q(ends_at__gt=at), window=window, starts_at__lte=at)
    current: Budget | None = present.order_by("closed_at").last()
    _close(rows.filter(closed_at=None).exclude(pk=current and current.pk), at)
    if current is None:
        starts_at, ends_at = window_at(window, time_zone, at)
        return Budget.objects.create(
            subject_kind=subject_kind,
            subject_id=subject_id,
            purpose=SPEND_LIMIT,
            window=window,
            time_zone=time_zone,
            starts_at=starts_at,
            ends_at=ends_at,
            limit=limit_nano,
        )
    Budget.objects.filter(pk=current.pk).update(limit=limit_nano, closed_at=None)
    _follow(rows.filter(pk=current.pk), time_zone, at)
    current.refresh_from_db()
    return current


@transaction.atomic
def move_limits(*, subject_ids: Iterable[UUID], time_zone: str) -> None:
    """Let these subjects' spend limits follow the calendar of another zone. The present window goes on with what it
    has spent, and ends with the day, week or month there."""
    ids = list(subject_ids)
    limits = Budget.objects.filter(subject_id__in=ids, purpose=SPEND_LIMIT, closed_at=None)
    limited = sorted(set(limits.values_list("subject_id", flat=True)))
    for id in limited:
        lock("budget", str(id))
    at = now()
    _make_successors(limited, at)
    _follow(Budget.objects.filter(subject_id__in=limited, purpose=SPEND_LIMIT).in_force(at), time_zone, at)


@transaction.atomic
def change_limit(*, budget: Budget, limit_nano: int) -> None:
    """Give one row another limit. limit_nano: >= 0; below what is spent, nothing more fits."""
    was = Budget.objects.filter(pk=budget.pk).values_list("limit", flat=True).first()
    Budget.objects.filter(pk=budget.pk).update(limit=limit_nano)
    record(
        "budget.limit_changed",
        target=budget,
        organization_id=_organization_of(budget),
        before={"limit_nano": was},
        after={"limit_nano": limit_nano, "of": f"{budget.subject_kind} {budget.subject_id}"},
    )


@transaction.atomic
def ensure_credit(*, organization: Organization, limit_nano: int = 0) -> Budget:
    """The organization's credit, opened with `limit_nano` if there is none yet; an existing one is left as it is.

    What it has later is granted by billing, which keeps it equal to the books.
    """
    lock("budget", str(organization.pk))
    rows = Budget.objects.of_subject(organization.pk).filter(purpose=CREDIT, closed_at=None)
    existing: Budget | None = rows.first()
    if existing is not None:
        return existing
    starts_at, _ = window_at(LIFETIME, "UTC", now())
    return Budget.objects.create(
        subject_kind=Budget.SubjectKind.ORGANIZATION,
        subject_id=organization.pk,
        purpose=CREDIT,
        window=LIFETIME,
        starts_at=starts_at,
        limit=limit_nano,
    )


@transaction.atomic
def current_budgets(subject_ids: Iterable[UUID]) -> list[Budget]:
    """Every limit and credit of these subjects that is in force now, in the window of now: the rows that are enforced.

    A window that has turned since the last call gets its row here, so that the number shown is the one that counts.
    """
    ids = list(subject_ids)
    at = now()
    _make_successors(ids, at)
    return list(Budget.objects.filter(subject_id__in=ids).in_force(at).order_by("subject_id", "purpose", "id"))


def spend_limits_of(ids: Iterable[UUID]) -> dict[UUID, Budget]:
    """The own limit, in its present window, of each of these subjects that has one; by subject."""
    return {budget.subject_id: budget for budget in current_budgets(ids) if budget.purpose == SPEND_LIMIT}


def window_at(window: str, time_zone: str, at: datetime) -> tuple[datetime, datetime | None]:
    """The calendar window that holds `at`: [starts_at, ends_at), or without an end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT starts_at, ends_at FROM budget_window(%s, %s, %s)", [window, time_zone, at])
        starts_at, ends_at = cursor.fetchone()
    return starts_at, ends_at


def _organization_of(budget: Budget) -> UUID | None:
    if budget.subject_kind == Budget.SubjectKind.KEY:  # of an app above this one; the relation is read
        return Organization.objects.filter(api_keys=budget.subject_id).values_list("pk", flat=True).first()
    return budget.subject_id if budget.subject_kind == Budget.SubjectKind.ORGANIZATION else None


def _make_successors(subject_ids: list[UUID], at: datetime) -> None:
    """Let the database replace each limit whose window is over by the row of the present window."""
    turned = (
        Budget.objects.filter(subject_id__in=subject_ids, closed_at=None)
        .order_by("subject_id", "purpose", "window", "-starts_at")
        .distinct("subject_id", "purpose", "window")
        .values_list("pk", "ends_at")
    )
    over = [pk for pk, ends_at in turned if ends_at is not None and ends_at <= at]
    if over:
        with connection.cursor() as cursor:
            cursor.execute("SELECT budget_in_force(b, %s) FROM unnest(%s::uuid[]) b", [at, over])


def _follow(rows: QuerySet[Budget], time_zone: str, at: datetime) -> None:
    """Let the windows of these rows, which hold `at`, end as those of another zone do."""
    others = rows.exclude(time_zone=time_zone).exclude(window=LIFETIME)
    found = list(others.order_by("id").select_for_update(no_key=True).values_list("pk", "window"))
    for window in {window for _, window in found}:
        _, ends_at = window_at(window, time_zone, at)
        ids = [pk for pk, of in found if of == window]
        Budget.objects.filter(pk__in=ids).update(time_zone=time_zone, ends_at=ends_at)


def _close(rows: QuerySet[Budget], at: datetime) -> None:
    """Locked in id order, as the gateway locks them."""
    ids = list(rows.order_by("id").select_for_update(no_key=True).values_list("pk", flat=True))
    Budget.objects.filter(pk__in=ids).update(closed_at=at)
