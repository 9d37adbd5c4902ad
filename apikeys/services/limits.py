"""What limits a key: the budgets that its calls must fit into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from accounts import services as accounts
from accounts.models import Budget, Organization
from apikeys.models import APIKey
from common import clock, limiter
from common.limiter import Bucket
from common.limits import bucket_of_organization, bucket_of_person, buckets_of_key


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """The tightest of the limits that a key's calls must fit into. Amounts are nano-units.

    source: `key`, `organization` or `credit`. resets_at: when its window turns; None: never. own_nano: the key's own
    limit, if it has one.
    """

    source: str
    used_nano: int
    limit_nano: int
    window: str
    resets_at: datetime | None
    own_nano: int | None


def effective_limits(keys: Iterable[APIKey], *, organization: Organization) -> dict[UUID, EffectiveLimit]:
    """The tightest limit of each of the organization's keys, by key; a key that nothing limits is left out."""
    keys = list(keys)
    budgets = accounts.current_budgets([organization.pk, *(key.pk for key in keys)])
    shared = [budget for budget in budgets if budget.subject_id == organization.pk]
    tightest = {}
    for key in keys:
        own = [budget for budget in budgets if budget.subject_id == key.pk]
        if candidates := [*own, *shared]:
            budget = min(candidates, key=lambda candidate: candidate.left)
            is_credit = budget.purpose == Budget.Purpose.CREDIT
            tightest[key.pk] = EffectiveLimit(
                source="credit" if is_credit else str(budget.subject_kind),
                used_nano=budget.spent,
                limit_nano=budget.limit,
                window=budget.window,
                resets_at=budget.ends_at,
                own_nano=own[0].limit if own else None,
            )
    return tightest


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as it is enforced now. kind: `spend` or `credit`, in nano-units, or `rate`, in requests.

    source: whose it is: `key`, `deployment`, `organization`, `credit` or `person`.  held: reserved by calls under way.
    window: day, week, month, lifetime or minute.  is_tightest: of the limits on money, or of the rates.
    """

    kind: str
    source: str
    limit: int
    used: int
    held: int
    left: int
    window: str
    resets_at: datetime | None
    is_tightest: bool

    @property
    def is_reached(self) -> bool:
        return self.left <= 0

    @property
    def is_money(self) -> bool:
        return self.kind != "rate"


def limits_of_key(key: APIKey, *, subject_ids: Iterable[UUID] = (), buckets: Iterable[Bucket] = ()) -> list[Limit]:
    """Every limit that calls with the key must fit into; money first. Calls of a test key cost nothing.

    subject_ids, buckets: what else limits the calls, such as a deployment.
    """
    organization = key.organization
    own = buckets_of_key(key.id, key.rate_limit, organization.pk, organization.rate_limit)
    money = [] if key.mode == APIKey.Mode.TEST else _money([organization.pk, key.id, *subject_ids])
    return [*money, *_rates([*own, *buckets])]


def limits_of_person(
    user_id: UUID, organization: Organization, *, subject_ids: Iterable[UUID] = (), buckets: Iterable[Bucket] = ()
) -> list[Limit]:
    """Every limit that calls of a person for the organization must fit into; money first. The rest as for a key."""
    own = (bucket_of_person(user_id), bucket_of_organization(organization.pk, organization.rate_limit))
    return [*_money([organization.pk, *subject_ids]), *_rates([*own, *buckets])]


def _money(subject_ids: list[UUID]) -> list[Limit]:
    budgets = accounts.current_budgets(subject_ids)
    tightest = min(budgets, key=lambda budget: budget.left, default=None)
    return [
        Limit(
            kind="credit" if budget.purpose == Budget.Purpose.CREDIT else "spend",
            source="credit" if budget.purpose == Budget.Purpose.CREDIT else str(budget.subject_kind),
            limit=budget.limit,
            used=budget.spent,
            held=budget.held,
            left=budget.left,
            window=str(budget.window),
            resets_at=budget.ends_at,
            is_tightest=budget is tightest,
        )
        for budget in sorted(budgets, key=lambda budget: budget.left)
    ]


def _rates(buckets: list[Bucket]) -> list[Limit]:
    """Looked at, and nothing is taken from them."""
    at = clock.now()
    decisions = limiter.look_at_all(buckets)
    tightest = limiter.tightest_of(decisions)
    return [
        Limit(
            kind="rate",
            source=decision.name,
            limit=decision.limit,
            used=max(0, decision.limit - decision.remaining),
            held=0,
            left=decision.remaining,
            window="minute",
            resets_at=at + timedelta(seconds=decision.reset_seconds),
            is_tightest=decision is tightest,
        )
        for decision in sorted(decisions, key=lambda decision: decision.remaining)
    ]
