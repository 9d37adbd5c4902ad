"""The two moves of money: all or nothing, once, and written by nobody else."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from accounts.models import Budget
from billing.models import UsageEvent
from common import clock
from common.ids import uuid7
from gateway.models import Invocation, Rule, SweepMark
from gateway.services import check_books, orphans, settle_orphans
from gateway.services.calls import Reserve, Settle, move
from marketplace.models import Price
from marketplace.services.pricing import cost_of

pytestmark = pytest.mark.django_db


def make_budget(limit: int, **values) -> Budget:
    fields = {
        "subject_kind": Budget.SubjectKind.KEY,
        "subject_id": uuid7(),
        "purpose": Budget.Purpose.SPEND_LIMIT,
        "window": Budget.Window.LIFETIME,
        "starts_at": "1970-01-01T00:00:00Z",
        "limit": limit,
    }
    return Budget.objects.create(**{**fields, **values})


def reserve(hold: int, *budgets: Budget, **values) -> Reserve:
    fields = {
        "id": uuid7(),
        "organization_id": uuid7(),
        "user_id": None,
        "api_key_id": None,
        "publisher_id": uuid7(),
        "ai_model_id": uuid7(),
        "version_id": uuid7(),
        "price_id": uuid7(),
        "kind": "invoke",
        "mode": "live",
        "is_streamed": False,
        "hold_nano": hold,
        "budget_ids": tuple(budget.id for budget in budgets),
    }
    return Reserve.of(**{**fields, **values})


def settle(of: Reserve, cost: int, **values) -> Settle:
    fields = {
        "id": of.id,
        "rule": Rule.DEMO,
        "cost_nano": cost,
        "input_tokens": 1,
        "output_tokens": 2,
        "usage_source": "reported",
        "http_status": 200,
        "error_code": "",
        "latency_ms": 5,
        "first_token_ms": None,
    }
    return Settle(**{**fields, **values})


def state(budget: Budget) -> tuple[int, int]:
    budget.refresh_from_db()
    return budget.held, budget.spent


def test_a_reserve_holds_and_a_settle_moves_the_hold():
    budget = make_budget(100)
    call = reserve(40, budget)
    assert move(reserves=[call]).refused == {}
    assert state(budget) == (40, 0)
    assert move(settles=[settle(call, 25)]).unsettled == frozenset()
    assert state(budget) == (0, 25)
    row = Invocation.objects.get(pk=call.id)
    assert (row.state, row.cost_nano, row.hold_nano) == ("final", 25, 40)
    event = UsageEvent.objects.get(pk=call.id)
    assert (event.cost_nano, event.input_tokens, event.output_tokens) == (25, 1, 2)
    assert check_books() == []


@pytest.mark.parametrize("code", ["", "NULL", 'a"b', "a\\b", "a,b", "{}", "ü"])
def test_a_text_is_stored_as_it_is_whatever_it_holds(code):
    call = reserve(0)
    move(reserves=[call])
    move(settles=[settle(call, 0, error_code=code)])
    assert Invocation.objects.get(pk=call.id).error_code == code


def test_exactly_as_many_are_admitted_as_the_limit_affords():
    budget = make_budget(100)
    answer = move(reserves=[reserve(10, budget) for _ in range(15)])
    assert sorted(answer.refused) == [10, 11, 12, 13, 14]
    assert set(answer.refused.values()) == {budget.id}
    assert state(budget) == (100, 0)
    assert Invocation.objects.count() == 10, "a refusal leaves no row"


def test_a_small_call_behind_a_large_one_still_fits():
    budget = make_budget(100)
    answer = move(reserves=[reserve(80, budget), reserve(50, budget), reserve(20, budget)])
    assert list(answer.refused) == [1]
    assert state(budget) == (100, 0)


def test_nested_budgets_are_all_or_nothing():
    tight, wide = make_budget(10), make_budget(1_000)
    answer = move(reserves=[reserve(20, wide, tight)])
    assert answer.refused == {0: tight.id}
    assert state(tight) == state(wide) == (0, 0)


def test_a_refused_neighbour_takes_no_room_from_the_shared_budget():
    spent_out, healthy, shared = make_budget(0), make_budget(100), make_budget(100)
    answer = move(reserves=[reserve(60, spent_out, shared), reserve(60, healthy, shared)])
    assert answer.refused == {0: spent_out.id}
    assert state(shared) == (60, 0)


def test_room_that_a_settle_frees_is_there_for_a_reserve_of_the_same_batch():
    budget = make_budget(100)
    first = reserve(100, budget)
    move(reserves=[first])
    answer = move(reserves=[reserve(90, budget)], settles=[settle(first, 10)])
    assert answer.refused == {}
    assert state(budget) == (90, 10)


def test_a_second_settle_changes_nothing_and_is_reported():
    budget = make_budget(100)
    call = reserve(40, budget)
    move(reserves=[call])
    move(settles=[settle(call, 25)])
    assert move(settles=[settle(call, 40)]).unsettled == {0}
    assert state(budget) == (0, 25)
    assert UsageEvent.objects.count() == 1


def test_a_repeated_reserve_holds_once():
    budget = make_budget(100)
    call = reserve(60, budget)
    move(reserves=[call])
    assert move(reserves=[call]).refused == {}
    assert state(budget) == (60, 0)
    assert Invocation.objects.count() == 1


def test_calls_between_the_oldest_and_the_newest_of_a_batch_are_not_read():
    calls = [reserve(0) for _ in range(60)]
    move(reserves=calls)

    def rows_read() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname ~ '^gateway_invocation'"
            )
            return cursor.fetchone()[0]

    before = rows_read()
    assert move(settles=[settle(calls[-1], 0), settle(calls[0], 0)]).unsettled == frozenset()
    assert rows_read() - before < 10


def test_calls_of_many_kinds_share_a_batch():
    budget, other = make_budget(100), make_budget(100)
    calls = [
        reserve(10, budget, kind="chat", api_key_id=uuid7()),
        reserve(0, other, mode="test", deployment_id=uuid7(), user_id=uuid7()),
        reserve(20, budget, other, is_streamed=True),
    ]
    like_the_first = Reserve(uuid7(), calls[0].what, 5)
    assert move(reserves=[*calls, like_the_first]).refused == {}
    assert (state(budget), state(other)) == ((35, 0), (20, 0))
    for call in (*calls, like_the_first):
        row, what = Invocation.objects.get(pk=call.id), call.what
        assert (row.kind, row.mode, row.is_streamed) == (what.kind, what.mode, what.is_streamed)
        assert (row.organization_id, row.user_id, row.api_key_id) == (
            what.organization_id,
            what.user_id,
            what.api_key_id,
        )
        assert (row.version_id, row.price_id, row.deployment_id) == (what.version_id, what.price_id, what.deployment_id)
        assert row.budget_ids == (list(what.budget_ids) if call.hold_nano else [])
    answer = move(
        settles=[settle(calls[2], 7, first_token_ms=3), settle(calls[0], 10, error_code="odd", http_status=201)]
    )
    assert answer.unsettled == frozenset()
    assert (state(budget), state(other)) == ((5, 17), (0, 7))
    first, third = (Invocation.objects.get(pk=call.id) for call in (calls[0], calls[2]))
    assert (first.error_code, first.http_status, first.first_token_ms, first.cost_nano) == ("odd", 201, None, 10)
    assert (third.error_code, third.http_status, third.first_token_ms, third.cost_nano) == ("", 200, 3, 7)
    assert check_books() == []


def test_a_settle_of_nothing_is_reported():
    assert move(settles=[settle(reserve(1), 1)]).unsettled == {0}


def test_what_goes_beyond_the_hold_is_kept_apart_and_charged_to_nobody():
    budget = make_budget(100)
    call = reserve(40, budget)
    move(reserves=[call])
    move(settles=[settle(call, 70)])
    row = Invocation.objects.get(pk=call.id)
    assert (row.cost_nano, row.overrun_nano) == (40, 30)
    assert state(budget) == (0, 40)


def test_a_free_call_is_recorded_although_the_credit_is_gone():
    budget = make_budget(10, spent=10)
    assert move(reserves=[reserve(0, budget)]).refused == {}


def test_a_turned_window_gets_a_successor_with_the_same_limit():
    old = make_budget(50, window="month", starts_at="2025-03-01T00:00:00Z", ends_at="2025-04-01T00:00:00Z", spent=50)
    call = reserve(50, old)
    assert move(reserves=[call]).refused == {}
    new = Budget.objects.get(subject_id=old.subject_id, starts_at__gt=old.starts_at)
    assert (new.limit, new.held, new.spent) == (50, 50, 0)
    assert new.starts_at.day == 1
    assert new.ends_at > new.starts_at
    assert state(old) == (0, 50)
    assert move(reserves=[reserve(1, old)]).refused == {0: new.id}, "the successor is found again, not made twice"


def test_windows_follow_the_time_zone_and_its_clock_changes():
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM budget_window('day', 'Europe/Berlin', '2026-03-29T10:00:00Z')")
        start, end = cursor.fetchone()
        assert (end - start).total_seconds() == 23 * 3600
        cursor.execute("SELECT * FROM budget_window('month', 'Asia/Kolkata', '2026-01-31T19:00:00Z')")
        start, end = cursor.fetchone()
    assert start.isoformat() == "2026-01-31T18:30:00+00:00"
    assert end.isoformat() == "2026-02-28T18:30:00+00:00"


def test_a_settle_moves_the_rows_that_were_reserved_also_when_the_window_has_turned():
    budget = make_budget(100, window="day", starts_at="2999-01-01T00:00:00Z", ends_at="2999-01-02T00:00:00Z")
    call = reserve(40, budget)
    move(reserves=[call])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL agorai.clock_offset = '1000 years'")
    move(settles=[settle(call, 30)])
    assert state(budget) == (0, 30)


def test_a_call_whose_process_is_gone_is_voided_and_its_hold_returns():
    budget = make_budget(100)
    lost = reserve(40, budget)
    move(reserves=[lost])
    assert settle_orphans() == 0, "a fresh call is left alone"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL agorai.clock_offset = '151 seconds'")
    assert settle_orphans() == 1
    row = Invocation.objects.get(pk=lost.id)
    assert (row.rule, row.cost_nano) == (Rule.ORPHAN_VOID, 0)
    assert state(budget) == (0, 0)


def test_a_call_that_is_renewed_is_no_orphan():
    call = reserve(40, make_budget(100))
    move(reserves=[call])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL agorai.clock_offset = '140 seconds'")
        cursor.execute("SELECT gateway_beat(%s::uuid[])", [[call.id]])
        cursor.execute("SET LOCAL agorai.clock_offset = '160 seconds'")
    assert settle_orphans() == 0


def later(**shift: float) -> None:
    """The clock of the database, in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('agorai.clock_offset', %s, true)", [f"{timedelta(**shift)!s}"])


def beat(call: Reserve) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_beat(%s::uuid[])", [[call.id]])


def test_a_call_that_lives_long_is_remembered_while_the_sweep_moves_on():
    call = reserve(40, make_budget(100))
    move(reserves=[call])
    for hours in (2, 4):
        later(hours=hours)
        beat(call)
        assert settle_orphans() == 0
        mark = SweepMark.objects.get()
        assert mark.low_water > call.id
        assert mark.carried == [call.id]
    later(hours=4, seconds=151)
    assert settle_orphans() == 1
    settle_orphans()
    assert SweepMark.objects.get().carried == []


def test_orphans_of_a_long_outage_are_all_ended(monkeypatch):
    monkeypatch.setattr(orphans, "ENDED_AT_ONCE", 2)
    settle_orphans()
    budget = make_budget(100)
    for _ in range(5):
        move(reserves=[reserve(10, budget)])
    later(hours=30)
    assert settle_orphans() == 5
    assert state(budget) == (0, 0)


def test_the_sweep_reads_only_what_is_new():
    """What lies before the mark is not looked at, whatever its state: that is what the mark is for."""
    call = reserve(40, make_budget(100))
    move(reserves=[call])
    later(seconds=151)
    SweepMark.objects.create(name=SweepMark.ORPHANS, low_water=uuid7(), carried=[], swept_at=clock.now())
    assert settle_orphans() == 0


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE accounts_budget SET spent = 0", "permission denied"),
        ("UPDATE accounts_budget SET held = 0", "permission denied"),
        ("UPDATE gateway_invocation SET cost_nano = 0", "permission denied"),
        ("DELETE FROM gateway_invocation", "permission denied"),
        ("INSERT INTO billing_usageevent (id) VALUES (gen_random_uuid())", "permission denied"),
        ("DELETE FROM billing_usageevent", "permission denied"),
        ("TRUNCATE accounts_budget", "permission denied"),
    ],
)
def test_the_application_moves_money_by_the_functions_alone(statement, why):
    with pytest.raises(DatabaseError, match=why), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_check_books_finds_a_budget_that_lies():
    budget = make_budget(100, spent=7)
    (found,) = check_books()
    assert str(budget.id) in found
    with pytest.raises(CommandError, match=str(budget.id)):
        call_command("check_books")


def test_books_that_agree_are_said_to(capsys):
    call = reserve(40, make_budget(100))
    move(reserves=[call])
    call_command("check_books")
    assert capsys.readouterr().out == "Every unit is accounted for.\n"


@pytest.mark.parametrize(
    ("rates", "tokens", "cost"),
    [
        ({"per_call_nano": 1_000_000}, (500, 500), 1_000_000),
        (
            {"input_nano_per_million": 400_000_000, "output_nano_per_million": 1_200_000_000},
            (1_000_000, 0),
            400_000_000,
        ),
        ({"input_nano_per_million": 400_000_000, "output_nano_per_million": 1_200_000_000}, (7, 3), 6_400),
        ({"input_nano_per_million": 1}, (500_000, 0), 1),
        ({"input_nano_per_million": 1}, (499_999, 0), 0),
        ({"per_call_nano": 5, "output_nano_per_million": 1_000_000}, (0, 1), 6),
        ({}, (1000, 1000), 0),
        ({"per_call_nano": 2**63 - 1, "output_nano_per_million": 2**63 - 1}, (0, 10**8), 2**63 - 1),
    ],
)
def test_a_call_is_rated_once_half_up(rates, tokens, cost):
    assert cost_of(Price(**rates), input_tokens=tokens[0], output_tokens=tokens[1]) == cost
