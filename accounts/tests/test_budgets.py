"""Limits and credit: the row that is shown is the row that counts."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from accounts import services
from accounts.models import Budget
from accounts.tests.factories import later, make_organization
from common import clock
from common.ids import uuid7

pytestmark = pytest.mark.django_db


@pytest.fixture
def key_id():
    return uuid7()


def set_limit(subject_id, limit_nano, window="day", time_zone="UTC"):
    return services.set_spend_limit(
        subject_kind="key", subject_id=subject_id, limit_nano=limit_nano, window=window, time_zone=time_zone
    )


def enforced(budget):
    """The row that the gateway would reserve from for this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budget_in_force(%s, clock_now())", [budget.pk])
        return cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("window", "at", "starts_at", "ends_at"),
    [
        ("day", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),  # 23 hours
        ("day", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),  # 25 hours
        ("week", "2026-11-25T12:00+01:00", "2026-11-23T00:00+01:00", "2026-11-30T00:00+01:00"),
        ("month", "2026-10-31T23:59:59+01:00", "2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00"),
        ("month", "2026-11-01T00:00:00+01:00", "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
    ],
)
def test_a_window_is_of_the_calendar_in_its_zone(window, at, starts_at, ends_at):
    expected = datetime.fromisoformat(starts_at), datetime.fromisoformat(ends_at)
    assert services.window_at(window, "Europe/Berlin", datetime.fromisoformat(at)) == expected


def test_a_lifetime_has_no_end():
    assert services.window_at("lifetime", "UTC", clock.now()) == (datetime(1970, 1, 1, tzinfo=UTC), None)


def test_a_limit_is_set_changed_and_lifted(key_id):
    first = set_limit(key_id, 5)
    assert first.starts_at <= clock.now() < first.ends_at
    second = set_limit(key_id, 7)
    assert (second.pk, second.limit) == (first.pk, 7)
    assert services.current_budgets([key_id]) == [first]
    assert set_limit(key_id, None) is None
    assert services.current_budgets([key_id]) == []


def test_another_window_replaces_the_limit(key_id):
    day = set_limit(key_id, 5)
    month = set_limit(key_id, 50, window="month")
    assert services.current_budgets([key_id]) == [month]
    assert Budget.objects.get(pk=day.pk).closed_at is not None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("window", ["day", "week", "month"])
def test_another_zone_ends_the_present_window_and_forgets_nothing_of_it(key_id, zone, window):
    starts_at, ends_at = services.window_at(window, "UTC", clock.now())
    was = Budget.objects.create(
        **{"subject_kind": "key", "subject_id": key_id, "purpose": "spend_limit", "window": window},
        **{"starts_at": starts_at, "ends_at": ends_at, "limit": 50, "spent": 20},
    )
    moved = set_limit(key_id, 50, window=window, time_zone=zone)
    assert (moved.pk, moved.spent, moved.starts_at) == (was.pk, 20, was.starts_at)
    assert moved.ends_at > clock.now()
    assert moved.ends_at.astimezone(ZoneInfo(zone)).hour == 0
    assert services.current_budgets([key_id]) == [moved]
    with later(str(moved.ends_at - clock.now())):
        [following] = services.current_budgets([key_id])
        assert (following.starts_at, following.spent, following.time_zone) == (moved.ends_at, 0, zone)
        assert enforced(was) == following.pk


def test_limits_follow_an_organization_into_another_zone(key_id):
    organization, other = make_organization(), make_organization()
    limits = [
        services.set_spend_limit(
            subject_kind="organization", subject_id=one.pk, limit_nano=5, window=window, time_zone="UTC"
        )
        for one, window in ((organization, "day"), (other, "day"))
    ]
    services.ensure_credit(organization=organization, limit_nano=5)
    services.update_organization(organization=organization, time_zone="Pacific/Kiritimati")
    moved, left = (Budget.objects.get(pk=one.pk) for one in limits)
    assert (moved.time_zone, moved.ends_at.astimezone(UTC).hour) == ("Pacific/Kiritimati", 10)
    assert (left.time_zone, left.ends_at) == ("UTC", limits[1].ends_at)


def test_lifting_a_limit_and_setting_it_again_forgets_nothing(key_id):
    first = set_limit(key_id, 5)
    set_limit(key_id, 50, window="month")
    again = set_limit(key_id, 6)
    assert (again.pk, again.limit, again.closed_at) == (first.pk, 6, None)
    assert Budget.objects.of_subject(key_id).filter(closed_at=None).get() == again


def test_the_next_window_has_a_row_of_its_own_with_the_same_limit(key_id):
    first = set_limit(key_id, 5)
    with later("1 day"):
        [second] = services.current_budgets([key_id])
        assert second.pk != first.pk
        assert (second.limit, second.spent, second.starts_at) == (5, 0, first.ends_at)
        assert services.current_budgets([key_id]) == [second]
        assert enforced(first) == second.pk
    with later("3 days"):  # windows that nobody used leave no row
        set_limit(key_id, 9)
        [fourth] = services.current_budgets([key_id])
        assert (fourth.limit, Budget.objects.of_subject(key_id).count()) == (9, 3)


def test_a_lifted_limit_does_not_come_back_with_the_next_window(key_id):
    first = set_limit(key_id, 5)
    with later("1 day"):
        services.current_budgets([key_id])
        set_limit(key_id, None)
        assert services.current_budgets([key_id]) == []
    with later("2 days"):
        assert services.current_budgets([key_id]) == []
        assert enforced(first) == first.pk


def test_limits_of_many_cost_as_many_queries_as_of_one(key_id, django_assert_num_queries):
    others = [uuid7() for _ in range(10)]
    for other in others:
        set_limit(other, 5)
    for ids in ([key_id], others):
        with django_assert_num_queries(5):  # the clock, the newest, the rows; and a savepoint's two
            assert len(services.current_budgets(ids)) == len(ids) - (ids == [key_id])


def test_credit_is_opened_once():
    organization = make_organization()
    first = services.ensure_credit(organization=organization, limit_nano=5)
    assert services.ensure_credit(organization=organization, limit_nano=500) == first
    assert (first.window, first.ends_at, first.limit) == ("lifetime", None, 5)
    limit = services.set_spend_limit(
        subject_kind="organization", subject_id=organization.pk, limit_nano=3, window="lifetime", time_zone="UTC"
    )
    assert services.current_budgets([organization.pk]) == [first, limit]
    services.change_limit(budget=first, limit_nano=8)
    first.refresh_from_db()
    assert first.limit == 8


@pytest.mark.django_db(transaction=True)
def test_limits_set_at_once_leave_one_in_force():
    subject_id, organization = uuid7(), make_organization()
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        try:
            services.ensure_credit(organization=organization, limit_nano=i)
            return set_limit(subject_id, i, window=("day", "month", "week", "lifetime")[i % 4])
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert Budget.objects.of_subject(subject_id).filter(closed_at=None).count() == 1
    assert Budget.objects.of_subject(organization.pk).count() == 1
